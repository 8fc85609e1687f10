"""A trained model as two programs that run without vq: samples to indices, and back."""
