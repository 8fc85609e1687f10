"""The interfaces that components implement, one a file."""
