"""Two renderers of a ``Chart``, with one layout: SVG for the page, and PNG files."""
