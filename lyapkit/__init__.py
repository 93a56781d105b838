"""Lyapunov spectra of any differentiable map, and what the growth of small perturbations does to learning.

The names that this package offers stand in ``__init__.pyi``; each is loaded when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.2.0"
