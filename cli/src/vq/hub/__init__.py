"""A trained model in the Hugging Face hub's layout: written, uploaded, and loaded by name."""
