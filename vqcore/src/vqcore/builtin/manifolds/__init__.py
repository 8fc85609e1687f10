"""The built-in manifolds."""
