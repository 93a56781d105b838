"""Losses by their names, within the capture of a CUDA graph: as everywhere else, but nothing may be read back."""

import pytest
import torch

from lyapkit.losses import named, named_loss

CLASSES = torch.tensor([0, 2, 1, -100])
CASES = {
    "cross-entropy": [CLASSES, CLASSES[:, None].double(), torch.full((4, 3), 1 / 3)],
    "mse": [torch.ones(4, 3)],
    "rms": [torch.ones(4, 3, 1)],
    "l1": [torch.ones(4, 3, dtype=torch.int64)],
}


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_read_back_within_a_capture(name, monkeypatch):
    """Tensors on "meta" hold no values: whatever asks for one fails, as it does within a capture."""
    loss, outputs = named_loss(name), torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    expected = [loss(outputs, targets) for targets in CASES[name]]
    if name == "cross-entropy":
        with pytest.raises((RuntimeError, NotImplementedError)):
            loss(outputs.to("meta"), CASES[name][0].to("meta"))
    monkeypatch.setattr(named, "_is_captured", lambda: True)
    for targets, value in zip(CASES[name], expected, strict=True):
        assert torch.equal(loss(outputs, targets), value)
        assert loss(outputs.to("meta"), targets.to("meta")).shape == ()
        with pytest.raises(ValueError, match="targets"):
            loss(outputs[:3], targets)
