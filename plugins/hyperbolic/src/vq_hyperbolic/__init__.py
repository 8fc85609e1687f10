"""Hyperbolic space: the Poincare ball, the Lorentz model, and an optimizer for their points."""
