"""A product of circles as the space of latents and codes."""
