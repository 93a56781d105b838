"""Read thousands of damaged and hostile files of every kind: no code may run, nothing crash, hang, or take much memory.

    python benchmarks/mutated_files.py     # some minutes; writes benchmarks/mutated_files.json

Each case changes a sound file: bits, bytes, sizes, pieces, or the members of an archive, which is then packed anew with
right checksums; pickles also get calls of functions that must not run. Cases are read by a process that says before
each which one it is, so that a crash or a hang is laid at its door. What the library answers with ValueError, OSError
and the like is what the command line turns into one line and exit code 2; any other exception counts as a traceback.
Memory is that of this process and of its children; their forks, which read HDF5 and netCDF, are refused more than 256
MiB beyond what such a file can hold. Two times are kept: by the clock, which other work on the machine prolongs, and by
the processor, of this process and its children. A case hangs if it takes more than 5 s of the latter, or a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import xarray as xr
from lyapunov import machine
from torch import nn

import lyapkit as lk
from lyapkit.files.child import running_processes
from lyapkit.provenance import provenance

OUTPUT = Path(__file__).with_suffix(".json")
N_CASES = 5000
OUTCOMES = ("read", "refused", "code run", "traceback", "crash", "hang", "memory")
LONGEST, LARGEST = 5.0, 500 << 20  # seconds of the processor and bytes that a case may take
PATIENCE = 60.0  # seconds by the clock
EXPECTED = (ValueError, OSError, ArithmeticError, ImportError, MemoryError)  # one line and exit code 2
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "subprocess.Popen", "os.mkdir")
CHILDREN = ("child_server.py",)  # lyapkit's own, which read files apart
CALLS = [  # pickles that run something when they are read
    b"cos\nsystem\n(X\x05\x00\x00\x00touchtR",
    b"cos\nmkdir\n(X\x08\x00\x00\x00code-rantR",
    b"c__builtin__\neval\n(X\x10\x00\x00\x00__import__('os')tR",
    b"cbuiltins\nexec\n(X\x04\x00\x00\x00a=1\ntR",
]


def _state() -> dict[str, torch.Tensor]:
    module = nn.ModuleDict({"lstm": nn.LSTM(3, 4, 2), "readout": nn.Linear(4, 2)})
    return {name: tensor.detach() for name, tensor in module.state_dict().items()}


def _write_index(path: Path) -> None:
    names = list(_state())
    parts = {f"part-0000{k + 1}-of-00002.safetensors": names[k::2] for k in range(2)}
    for name, part in parts.items():
        safetensors.torch.save_file({key: _state()[key] for key in part}, path.with_name(name))
    path.write_text(json.dumps({"weight_map": {key: name for name, part in parts.items() for key in part}}))


def _inputs() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 6, 3)).round(4)


def _write_dataset(path: Path) -> None:
    lk.save(lk.lyapunov_spectrum(lk.from_module(nn.GRU(3, 4)), _inputs()), path)


def _write_classic(path: Path) -> None:
    values = xr.DataArray(_inputs(), dims=("trajectory", "time", "feature"), name="inputs")
    values.to_netcdf(path, engine="netcdf4", format="NETCDF3_CLASSIC")


def _own(path: Path) -> None:
    network = lk.WCRNN(3, 6, 2, residual=lk.residuals.rotation(6, 0.99, 0.3), coupling=0.1)
    safetensors.torch.save_file(dict(network.state_dict()), path)


def _write_keras(path: Path) -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    layers = [keras.layers.Input((None, 3)), keras.layers.LSTM(4), keras.layers.Dense(2)]
    model = keras.Sequential(layers)
    (model.save_weights if path.name.endswith(".weights.h5") else model.save)(path)


def _write_onnx(path: Path) -> None:
    from onnx import TensorProto, helper, numpy_helper, save

    shapes = {"W": (1, 16, 3), "R": (1, 16, 4), "B": (1, 32)}
    generator = np.random.default_rng(0)
    weights = [numpy_helper.from_array(generator.normal(size=shapes[name]), name) for name in shapes]
    node = helper.make_node("LSTM", ["X", *shapes], ["Y"], hidden_size=4)
    given = helper.make_tensor_value_info("X", TensorProto.DOUBLE, ["time", "batch", 3])
    result = helper.make_tensor_value_info("Y", TensorProto.DOUBLE, ["time", 1, "batch", 4])
    save(helper.make_model(helper.make_graph([node], "lstm", [given], [result], weights)), path)


def _checkpoint(path: Path) -> None:
    lk.inspect_checkpoint(path)
    lk.load_system(path)
    lk.load_network(path)


def _rows(array: np.ndarray) -> str:
    return "trajectory,a,b,c\n" + "".join(
        f"{b}," + ",".join(map(str, row)) + "\n" for b in range(len(array)) for row in array[b]
    )


WRITERS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "PyTorch (.pt)": (lambda path: torch.save({"net": _state(), "epoch": 3}, path), _checkpoint),
    "PyTorch, legacy (.pt)": (
        lambda path: torch.save(_state(), path, _use_new_zipfile_serialization=False),
        _checkpoint,
    ),
    "safetensors": (lambda path: safetensors.torch.save_file(_state(), path), _checkpoint),
    "lyapkit's own (.safetensors)": (_own, _checkpoint),
    "index of shards (.index.json)": (_write_index, _checkpoint),
    "NumPy array (.npy)": (lambda path: np.save(path, _inputs()), lk.read_inputs),
    "NumPy archive (.npz)": (lambda path: np.savez_compressed(path, inputs=_inputs()), lk.read_inputs),
    "tensor (.pt)": (lambda path: torch.save(torch.from_numpy(_inputs()), path), lk.read_inputs),
    "table (.csv)": (lambda path: path.write_text(_rows(_inputs())), lk.read_inputs),
    "netCDF4 (.nc)": (_write_dataset, lk.load),
    "netCDF3 (.nc)": (_write_classic, lk.read_inputs),
}
ORDER = list(WRITERS) * 3
if find_spec("keras") and find_spec("h5py"):
    KERAS = ["Keras (.keras)", "Keras weights (.weights.h5)"]
    WRITERS |= dict.fromkeys(KERAS, (_write_keras, lk.load_system))
    ORDER += KERAS  # a process each, so rarer
if find_spec("onnx"):
    ORDER += ["ONNX (.onnx)"] * 3
    WRITERS["ONNX (.onnx)"] = (_write_onnx, lk.load_system)


def _suffix(kind: str) -> str:
    return kind[kind.index("(.") + 1 : -1] if "(." in kind else "." + kind


def mutated(content: bytes, generator: np.random.Generator) -> bytes:
    """Return the content of a file with something changed."""
    if content.startswith(b"PK") and generator.random() < 0.6:
        return _repacked(content, generator)
    changed = bytearray(content)
    for _ in range(generator.integers(1, 4)):
        place, length = int(generator.integers(len(changed) + 1)), int(generator.integers(1, 40))
        match generator.integers(9):
            case 0:
                if changed:
                    changed[place - 1] ^= 1 << int(generator.integers(8))
            case 1:
                changed[place : place + length] = generator.bytes(length)
            case 2:
                extreme = generator.choice([0, 1, 0x7F, 0xFF, 0x80]).item()
                changed[place : place + 8] = bytes([extreme]) * int(generator.choice([1, 2, 4, 8]))
            case 3:
                del changed[place:]
            case 4:
                del changed[place : place + length]
            case 5:
                changed[place:place] = changed[: length * 20]
            case 6:
                changed[place:place] = CALLS[int(generator.integers(len(CALLS)))]
            case 7:  # a number written as text, as in JSON and CSV
                digits = [k for k, byte in enumerate(changed) if 48 <= byte < 58]
                if digits:
                    k = digits[int(generator.integers(len(digits)))]
                    changed[k : k + 1] = generator.choice([b"99999999999", b"-1", b"1e999", b"[", b'"', b"{" * 3000])
            case 8:
                changed[place:place] = bytes(int(generator.choice([1, 8, 4096])))
    return bytes(changed)


def _repacked(content: bytes, generator: np.random.Generator) -> bytes:
    """Return an archive of which one member is changed, with right checksums."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(packed, "w") as new:
        members = archive.infolist()
        pickles = [k for k, member in enumerate(members) if member.filename.endswith((".pkl", ".json", ".npy"))]
        chosen = generator.choice(pickles) if pickles and generator.random() < 0.8 else generator.integers(len(members))
        for k, member in enumerate(members):
            data = archive.read(member)
            new.writestr(member.filename, mutated(data, generator) if k == chosen else data)
    return packed.getvalue()


class _Audit:
    """What Python says of calls that reading a file must not make."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple) -> None:
        own = any(name in str(arguments) for name in CHILDREN)
        if event in FORBIDDEN and not own and not str(arguments[0]).startswith(tempfile.gettempdir()):
            self.calls.append(event)


def read_cases(cases: range, seed: int, folder: Path) -> Iterator[dict]:
    """Write and read cases; yield, before each, its number and kind, and after it, what came of it."""
    warnings.simplefilter("ignore")
    samples = {}
    for kind, (write, read) in WRITERS.items():
        torch.manual_seed(0)
        sample = folder / f"sound{len(samples)}{_suffix(kind)}"
        write(sample)
        read(sample)
        samples[kind] = sample.read_bytes()
    audit = _Audit()
    for case in cases:
        kind = ORDER[case % len(ORDER)]
        generator = np.random.default_rng([seed, case])
        path = folder / f"case{_suffix(kind)}"
        path.write_bytes(mutated(samples[kind], generator))
        yield {"case": case, "kind": kind}
        audit.calls.clear()
        processes = {name: _resident(name) for name in ("self", *map(str, running_processes()))}
        start, worked, words = time.monotonic(), _work(), ""
        try:
            WRITERS[kind][1](path)
            outcome = "read"
        except EXPECTED as error:
            outcome, words = "refused", f"{type(error).__name__}: {str(error)[:200]}"
        except BaseException:
            outcome, words = "traceback", traceback.format_exc()[-600:]
        seconds = {"seconds": time.monotonic() - start, "processor_seconds": _work() - worked}
        grown = max(_memory(name, "VmHWM") - before for name, before in processes.items())
        yield {"outcome": outcome, **seconds, "bytes": grown, "calls": list(audit.calls), "words": words}


def _work() -> float:
    """Return the seconds of the processor that this process and its children, running or not, have taken."""
    ended = os.times()
    seconds = ended.user + ended.system + ended.children_user + ended.children_system
    for process in running_processes():
        with contextlib.suppress(OSError):  # it is gone
            ticks = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:15]
            seconds += sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    return seconds


def _resident(process: str) -> int:
    """Return the memory that a process has now, and let its peak begin from there."""
    with contextlib.suppress(OSError):  # it is gone
        Path(f"/proc/{process}/clear_refs").write_text("5")
    return _memory(process, "VmRSS")


def _memory(process: str, field: str) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:  # it is gone
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)


def run(n_cases: int, seed: int = 0) -> tuple[dict[str, Counter], list[dict], dict[str, float]]:
    """Return outcomes of cases by kind of file, those that went wrong, and the most that any took of time and bytes."""
    outcomes: dict[str, Counter] = {kind: Counter() for kind in WRITERS}
    wrong: list[dict] = []
    most, done = dict.fromkeys(("seconds", "processor_seconds", "bytes"), 0.0), 0
    while done < n_cases:
        with tempfile.TemporaryDirectory() as folder:
            first = done
            for case, result in _Reader(done, n_cases, seed, folder):
                done = case["case"] + 1
                most = {name: max(value, result[name]) for name, value in most.items()}
                if result["calls"]:
                    result["outcome"] = "code run"
                elif result["outcome"] in ("read", "refused") and result["processor_seconds"] > LONGEST:
                    result["outcome"] = "hang"
                elif result["outcome"] in ("read", "refused") and result["bytes"] > LARGEST:
                    result["outcome"] = "memory"
                outcomes[case["kind"]][result["outcome"]] += 1
                if result["outcome"] not in ("read", "refused"):
                    wrong.append(case | result)
            if done == first:
                raise RuntimeError(f"case {done} was not even begun")
    return outcomes, wrong, most


class _Reader:
    """A process that reads cases; iterating gives each case and its result, until it ends, crashes or hangs."""

    def __init__(self, first: int, last: int, seed: int, folder: str) -> None:
        command = [sys.executable, __file__, "--cases", str(first), str(last), "--seed", str(seed), "--folder", folder]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("")

    def __iter__(self) -> Iterator[tuple[dict, dict]]:
        try:
            patience = 40 * PATIENCE  # to start, on a busy machine
            while line := self._line(patience):
                case = json.loads(line)
                line = self._line(patience := PATIENCE)
                if line:
                    yield case, json.loads(line)
                else:
                    outcome = "hang" if line is None else "crash"
                    yield case, {"outcome": outcome, "seconds": 0, "processor_seconds": 0, "bytes": 0, "calls": []}
                    break
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()

    def _line(self, seconds: float) -> str | None:
        """Return what the process says next; "" if it is gone, None if it says nothing for so long."""
        try:
            return self.lines.get(timeout=seconds)
        except queue.Empty:
            return None


def main() -> None:
    """Run all cases, or be the process that reads some."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", nargs=2, type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.cases:
        for line in read_cases(range(*options.cases), options.seed, options.folder):
            print(json.dumps(line), flush=True)
        return
    outcomes, wrong, most = run(N_CASES, options.seed)
    totals = sum(outcomes.values(), Counter())
    summary = {
        "n_cases": N_CASES,
        "totals": {name: totals[name] for name in OUTCOMES},
        "longest_processor_seconds": round(most["processor_seconds"], 2),
        "longest_seconds": round(most["seconds"], 2),
        "largest_growth_mib": round(most["bytes"] / (1 << 20), 1),
        "by_kind": {kind: dict(counter) for kind, counter in outcomes.items()},
        "wrong": wrong,
        "machine": machine(),
    }
    OUTPUT.write_text(json.dumps(summary | provenance(), indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(summary, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
