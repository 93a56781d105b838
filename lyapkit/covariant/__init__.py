"""Covariant Lyapunov vectors: what computes them, their dataset, and the angles between the spaces they span."""
