"""``vq report``: one HTML file that shows what runs did, and needs nothing but itself."""
