"""The command vq code-usage."""
