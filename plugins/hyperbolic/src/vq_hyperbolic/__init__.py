"""Hyperbolic space for vqcore: the Poincare ball, the Lorentz model, and an optimizer for points on either."""
