"""Files of the user's: with dataclasses and neighbours, and what is wrong with them in one line."""

import sys

import pytest
import torch

from lyapkit.hooks import load_module, named_loss

FILE = """
from __future__ import annotations
from dataclasses import dataclass
import torch
from neighbour_of_hooks import SIZE

@dataclass
class Config:
    size: int = SIZE
    name: str | None = None

class Model(torch.nn.Module):
    def __init__(self, config=Config()):
        super().__init__()
        from later_neighbour_of_hooks import LAYERS
        self.rnn = torch.nn.GRU(2, config.size, num_layers=LAYERS)

def build():
    return Model()

def needs(argument):
    return Model()

def loss(outputs, targets):
    return (outputs - targets).abs().max()
"""


def test_dataclasses_and_neighbours(tmp_path):
    (tmp_path / "statistics.py").write_text(FILE)  # called as a module of Python's own is
    (tmp_path / "neighbour_of_hooks.py").write_text("SIZE = 5")
    (tmp_path / "later_neighbour_of_hooks.py").write_text("LAYERS = 2")
    before = sys.modules.get("statistics"), sys.path.copy()
    module = torch.nn.ModuleDict({"rnn": torch.nn.GRU(2, 5, num_layers=2)})
    torch.save(module.state_dict(), tmp_path / "model.pt")
    loaded = load_module(f"{tmp_path}/statistics.py:build", tmp_path / "model.pt")
    assert torch.equal(loaded.rnn.weight_hh_l1.double(), module["rnn"].weight_hh_l1.double())
    assert float(named_loss(f"{tmp_path}/statistics.py:loss")(torch.zeros(3), torch.arange(3.0))) == 2.0
    with pytest.raises(ValueError, match=r"needs cannot be called without arguments: TypeError"):
        load_module(f"{tmp_path}/statistics.py:needs", tmp_path / "model.pt")
    assert sys.modules.get("statistics") is before[0]
    assert sys.path[: len(before[1])] == before[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [("import no_such_thing", "ModuleNotFoundError: No module named"), ("def (", "SyntaxError"), ("1 / 0", "ZeroDiv")],
)
def test_files_that_cannot_be_run(content, message, tmp_path):
    (tmp_path / "broken.py").write_text(content)
    for _ in range(2):
        with pytest.raises(ValueError, match=f"cannot be run: {message}"):
            named_loss(f"{tmp_path}/broken.py:loss")
