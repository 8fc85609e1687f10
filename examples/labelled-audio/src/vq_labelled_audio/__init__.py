"""Folders of WAV files, a folder a class."""
