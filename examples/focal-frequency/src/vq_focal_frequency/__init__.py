"""The focal frequency loss."""
