"""Losses of pictures as people see them: LPIPS, and a discriminator of patches."""
