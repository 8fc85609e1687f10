"""Persistent homology (H0 and H1) of latents or codes as a regularizer for vqcore."""
