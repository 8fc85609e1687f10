"""What happens around the training steps of every run: a callback a file."""
