"""What a function of few variables computes, written down as arithmetic: traced once, then differentiated or compiled.

A function is called with values that note what is done to them, on a `Tape`. The tape, as a `Program`, is
differentiated exactly, evaluated on many states at once, and made into machine code (`lyapkit.compiled`).
"""

from lyapkit.systems.tracing.program import Program
from lyapkit.systems.tracing.tape import Untraceable
from lyapkit.systems.tracing.traced import traced

__all__ = ["Program", "Untraceable", "traced"]
