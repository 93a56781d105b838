"""Small maps and flows in a compiled loop, for as long as nothing needs more care than that.

A system's function is traced (`lyapkit.systems.tracing`), made into machine code by LLVM (`machine_code`), and run
together with its tangent map and the factorisations by loops that LLVM compiles, too (`kernels`, by `translation`).
LLVM is imported when it is first needed.
"""

from lyapkit.compiled.runs import compiled_orbit, propagate_compiled

__all__ = ["compiled_orbit", "propagate_compiled"]
