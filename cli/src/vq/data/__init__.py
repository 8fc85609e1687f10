"""Data sets: what one is (``source``), and one file for each family of them."""
