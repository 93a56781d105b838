"""`address_of`: LLVM's instructions as code that this processor runs."""

from __future__ import annotations

import threading

import llvmlite.binding as llvm
from llvmlite import ir

_engines: list[llvm.ExecutionEngine] = []  # keep the code alive
_one_at_a_time = threading.Lock()


def address_of(name: str, module: ir.Module, vectorizes: bool = True) -> int:
    """Return the address of a module's function, optimised for this processor, for as long as the process lives.

    Parameters
    ----------
    name : str
        Of the function.
    module : ir.Module
        Which has it.
    vectorizes : bool
        Whether to unroll loops and to put them into vector registers, which takes longer than all else.
    """
    with _one_at_a_time:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        target = llvm.Target.from_default_triple()
        features = llvm.get_host_cpu_features().flatten()
        machine = target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=3)
        parsed = llvm.parse_assembly(str(module))
        parsed.verify()
        options = llvm.create_pipeline_tuning_options(speed_level=2 if vectorizes else 1)
        options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = vectorizes
        builder = llvm.create_pass_builder(machine, options)
        builder.getModulePassManager().run(parsed, builder)
        engine = llvm.create_mcjit_compiler(parsed, machine)
        engine.finalize_object()
        _engines.append(engine)
        return engine.get_function_address(name)
