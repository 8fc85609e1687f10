"""A trained model as a folder of the Hugging Face hub's layout: written, uploaded, and loaded again by name."""
