"""Two renderers of a ``Chart``: SVG for the page, matplotlib for PNG files."""
