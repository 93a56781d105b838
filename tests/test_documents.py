"""Every snippet of README and docs runs, and so does every command of theirs; examples in docstrings hold."""

import doctest
import importlib
import pkgutil
import re
import shlex
from pathlib import Path

import agreement
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import lyapkit as lk
from lyapkit.cli import EXAMPLES

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    "README.md",
    *(f"docs/{name}.md" for name in ("index", "how_to", "learning", "training", "covariant", "sweeps", "reference")),
]
SHORTER = {  # what takes long, and what is done in its place
    "n_steps=10_000, n_transient=1000, n_trajectories=100": "n_steps=200, n_transient=10, n_trajectories=2",
    "n_steps=2_000": "n_steps=300",
    "np.linspace(0.9, 1.4, 500)}, n_steps=10_000": "np.linspace(0.9, 1.4, 3)}, n_steps=50",
    "n_transient=120, n_backward_transient=120": "n_transient=120, n_backward_transient=120, n_exponents=4",
    'lk.task("smnist", downsample=2)': 'lk.task("digits")',
    '"wcrnn", 1, 100, 10, residual=lk.residuals.scaled_identity(100, r)': (
        '"wcrnn", 1, 12, 10, residual=lk.residuals.scaled_identity(12, r)'
    ),
    "networks, task, 1872,": "networks, task, 4,",
    "checkpoints=[0, 187]": "checkpoints=[0, 2]",
    "test_samples(250)": "test_samples(5)",
    "train smnist --downsample 2": "train digits -n 8",
    "train add100 --network lstm --iterations 5000": "train digits -n 8 --network lstm --iterations 4",
    "a=0.9:1.4:500": "a=0.9:1.4:3 --steps 50",
    "--epochs 4": "--iterations 4",
    "--epochs 10": "--iterations 4",
    "-k 20": "-k 2",
    "--transient 100": "--transient 10",
}
MINE = """
import torch, lyapkit as lk

def build():
    return lk.RecurrentNetwork(torch.nn.LSTM(2, 5), torch.nn.Linear(5, 3)).double()

def my_loss(outputs, targets):
    return torch.nn.functional.cross_entropy(outputs, targets)
"""


def _blocks(language):
    for page in PAGES:
        text = (ROOT / page).read_text()
        for found, block in re.findall(r"^```(\S*)[^\n]*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
            if found != language:
                continue
            for long, short in SHORTER.items():
                block = block.replace(long, short)
            yield pytest.param(block, id=f"{page}: {block.strip().splitlines()[0][:40]}")


def _model():
    return lk.WCRNN(2, 6, 3, lk.residuals.scaled_identity(6, 0.9), 0.1, dtype=torch.float64)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files that the documents speak of."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    sequences, labels = rng.normal(size=(8, 90, 2)), rng.integers(0, 3, 8)
    np.save("sequences.npy", sequences)
    np.save("labels.npy", labels)
    np.savez("task.npz", inputs=sequences, targets=labels)
    many = {"inputs": np.repeat(sequences, 16, axis=0), "targets": np.repeat(labels, 16)}
    np.savez("mine.npz", **many, test_inputs=sequences, test_targets=labels)
    safetensors.torch.save_file(_model().state_dict(), "model.safetensors")
    Path("mine.py").write_text(MINE)
    module = lk.RecurrentNetwork(nn.LSTM(2, 5), nn.Linear(5, 3)).double()
    for name in ("model.pt", "start.pt", "later.pt"):
        torch.save(module.state_dict(), name)
    return tmp_path


def _names():
    """What the snippets take for granted."""
    rng = np.random.default_rng(0)
    cell = nn.GRUCell(28, 64)

    class MyCell(nn.Module):
        def forward(self, input, state):
            return cell(input, state)

    sequences = torch.from_numpy(rng.normal(size=(4, 6, 2)))
    return {
        "lk": lk,
        "np": np,
        "torch": torch,
        "nn": nn,
        "inputs": rng.normal(size=(2, 160, 2)),
        "sequences": sequences,
        "labels": torch.from_numpy(rng.integers(0, 3, 4)),
        "loss": cross_entropy,
        "model": lk.RecurrentNetwork(nn.LSTM(2, 5), nn.Linear(5, 3)).double(),
        "my_cell": MyCell(),
        "my_system": lk.classical.henon(),
    }


@pytest.mark.filterwarnings("ignore::lyapkit.LongRunWarning")
@pytest.mark.filterwarnings("ignore:.*vectors did not converge:lyapkit.ReliabilityWarning")
@pytest.mark.parametrize("snippet", list(_blocks("python")))
def test_snippet(snippet, folder):
    exec(compile(snippet, "snippet", "exec"), _names())


def _commands():
    for block in (value.values[0] for value in _blocks("")):
        for line in block.splitlines():
            command = shlex.split(line, comments=True)
            if command and command[0] == "lyapkit":
                yield pytest.param(command[1:], id=line[:60])


@pytest.mark.parametrize("arguments", list(_commands()))
def test_command(arguments, folder, run):
    code, out, err = run(*arguments, "-q")
    assert (code, bool(out)) == (0, True), err


@pytest.mark.filterwarnings("ignore:.*vectors did not converge:lyapkit.ReliabilityWarning")
@pytest.mark.parametrize("name", [command.__name__ for command in EXAMPLES if command.__name__ != "fetch"])
def test_example_in_help(name, folder, run):
    code, out, _ = run(name, "--help")
    (example,) = [text for command, text in EXAMPLES.items() if command.__name__ == name]
    assert (code, " ".join(example.split()) in " ".join(out.split())) == (0, True)
    if name == "plot":
        lk.save(lk.lyapunov_spectrum(lk.load_system("model.pt"), np.load("sequences.npy")), "spectrum.nc")
    for long, short in SHORTER.items():
        example = example.replace(long, short)
    code, out, err = run(*shlex.split(example)[1:], *(() if name in ("inspect", "plot") else ["-q"]))
    assert (code, bool(out)) == (0, True), err


def _documented():
    for module in pkgutil.walk_packages(lk.__path__, "lyapkit."):
        path = Path(module.module_finder.path) / f"{module.name.rpartition('.')[2]}.py"
        if path.is_file() and ">>>" in path.read_text():
            yield module.name


def test_every_public_name_is_documented_with_an_example():
    """Warnings and errors have one on the page; what is public and not on it is a module, or an older name."""
    page = (ROOT / "docs" / "reference.md").read_text()
    listed = re.findall(r"^   ([A-Za-z]\w*)$", page, flags=re.MULTILINE)
    assert len(listed) == len(set(listed)) > 60
    for name in listed:
        assert ">>>" in getattr(lk, name).__doc__ or f"lk.{name}" in page, name
    modules = {name for name in lk.__all__ if type(getattr(lk, name)).__name__ == "module"}
    assert set(lk.__all__) - set(listed) == modules | {"load_checkpoint", "open"}


@pytest.mark.parametrize("name", list(_documented()))
def test_examples_in_docstrings(name):
    torch.set_default_dtype(torch.float32)  # as users have it
    failed, tried = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert tried > 0
    assert failed == 0


def test_the_table_of_validation_has_every_comparison():
    """`make validation` writes it."""
    rows = agreement.split_document()[1].splitlines()[2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == [what for what, _ in agreement.KINDS.values()]
    for row in rows:
        difference, allowed = map(float, row.rstrip(" |").split(" | ")[-2:])
        assert difference <= allowed
