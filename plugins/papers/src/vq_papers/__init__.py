"""The experiments of the four papers that vq implements, and their results beside the papers'."""
