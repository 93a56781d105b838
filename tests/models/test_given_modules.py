"""Outputs of the last step and of every step, with lengths, against PyTorch; and users' modules, taken or refused."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import lyapkit as lk
from lyapkit.models import as_network

LENGTHS = torch.tensor([7, 7, 5, 3, 1])


def _padded():
    inputs = torch.randn(5, 7, 2)
    return inputs * (torch.arange(7) < LENGTHS[:, None])[:, :, None]


@pytest.mark.parametrize("name", ["wcrnn", "lstm", "s4"])
def test_outputs_with_lengths(name):
    """Each sequence alone, cut at its end, gives the same."""
    network, inputs = lk.build_network(name, 2, 6, 3, seed=0).double(), _padded()
    last = network(inputs, LENGTHS)
    for sample, length in enumerate(LENGTHS):
        alone = inputs[sample : sample + 1, :length]
        torch.testing.assert_close(last[sample : sample + 1], network(alone), atol=1e-13, rtol=1e-12)
    network.every_step = True
    outputs = network(inputs)
    assert outputs.shape == (5, 7, 3)
    for time in range(1, 8):
        network.every_step = False
        torch.testing.assert_close(outputs[:, time - 1], network(inputs[:, :time]), atol=1e-13, rtol=1e-12)


class Module(nn.Module):
    """A user's; what differs is said by name."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.rnn, self.out = kind, nn.GRU(2, 6, batch_first=True), nn.Linear(6, 3)
        self.norm = nn.BatchNorm1d(6) if kind == "norm after" else nn.Identity()
        if kind == "head":
            self.out = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 3))
            self.out[0].running_var.fill_(0.3)
        self.extra = nn.Parameter(torch.ones(1 if kind == "scale" else 6)) if kind in ("scale", "unused") else None
        self.start = nn.Parameter(torch.zeros(1, 1, 6)) if kind == "start" else None
        if kind == "frozen scale":
            self.extra = nn.Parameter(torch.ones(1), requires_grad=False)
        if kind == "detached, frozen":
            self.rnn.requires_grad_(False)
        if kind == "zero readout, relu":
            nn.init.zeros_(self.out.weight)

    def forward(self, inputs, lengths=None):
        given = inputs
        if self.kind in ("packed", "packed, takes lengths"):
            if lengths is None:
                lengths = (inputs.abs().sum(-1) > 0).sum(1)
            given = pack_padded_sequence(inputs, lengths, batch_first=True)
        start = None if self.start is None else self.start.expand(1, len(inputs), 6).contiguous()
        outputs, last = self.rnn(given, start)
        if self.kind == "every step":
            return self.out(outputs), last
        h = last[-1].detach() if self.kind in ("detached", "detached, frozen") else last[-1]
        if self.kind == "truncated":
            middle = self.rnn(inputs[:, :4])[1].detach()
            h = self.rnn(inputs[:, 4:], middle)[1][-1]
        if self.kind == "half a gradient":
            h = 0.5 * h + 0.5 * h.detach()
        if self.kind == "zero readout, relu":
            h = torch.relu(h)
        outputs = self.out(self.norm(h))
        return outputs * self.extra if "scale" in self.kind else outputs


@pytest.mark.parametrize(
    ("kind", "lengths"),
    [("plain", None), ("head", None), ("every step", None), ("packed", LENGTHS), ("detached, frozen", None)],
)
def test_taken(kind, lengths):
    model, inputs = Module(kind).train(), _padded()
    model.out.eval()
    modes = [part.training for part in model.modules()]
    network = as_network(model.float(), inputs, lengths)
    assert [part.training for part in model.modules()] == modes
    assert network.every_step == (kind == "every step")
    model = model.double().eval()
    outputs = model(inputs)
    expected = outputs[0] if kind == "every step" else outputs
    torch.testing.assert_close(network(inputs, lengths), expected, atol=1e-13, rtol=1e-12)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("norm after", "does more than to read its last hidden state"),
        ("packed", "if its sequences are padded, give their lengths"),
        ("scale", "does more than"),
        ("unused", r"trainable parameters in neither its recurrent module nor its readout, extra"),
        ("start", "does more than"),
        ("frozen scale", "does more than"),
        ("zero readout, relu", "does more than"),
        ("detached", r"not their gradients with respect to rnn\.weight_ih_l0, .* is to be frozen"),
        ("truncated", r"not their gradients with respect to rnn\.weight_ih_l0"),
        ("half a gradient", r"not their gradients with respect to rnn\.weight_ih_l0"),
    ],
)
def test_refused(kind, message):
    """Though the outputs of the first samples, or with these very parameters, are the same."""
    with pytest.raises(ValueError, match=message):
        as_network(Module(kind), _padded())


def test_a_network_whose_forward_is_another():
    class Scaled(lk.WCRNN):
        def forward(self, inputs):
            return 2 * super().forward(inputs)

    with pytest.raises(ValueError, match="is not the readout of its own states: outputs differ"):
        as_network(Scaled(2, 6, 3, lk.residuals.scaled_identity(6, 0.9)), _padded())


def test_complex_weights_keep_their_imaginary_parts():
    """A diagonal recurrence of complex numbers, as in LRU and S5: every exponent twice, log |λ|."""

    class Diagonal(nn.Module):
        def __init__(self):
            super().__init__()
            moduli, angles = torch.tensor([0.95, 0.9, 0.8, 0.7]), torch.tensor([1.5, 0.3, 2.0, 1.0])
            self.values = nn.Parameter(torch.polar(moduli, angles))
            self.input = nn.Parameter(torch.randn(4, 3, dtype=torch.cfloat))

        def forward(self, x, h):
            z = self.values * torch.complex(h[..., :4], h[..., 4:]) + x.to(self.input.dtype) @ self.input.mT
            return torch.cat([z.real, z.imag], -1)

    inputs = np.random.default_rng(0).normal(size=(1, 60, 3))
    expected = np.repeat(np.log([0.95, 0.9, 0.8, 0.7]), 2)
    for dtype, within in (("float64", 1e-7), ("float32", 1e-5)):
        system = lk.from_module(Diagonal(), state_size=8, input_size=3)
        ds = lk.lyapunov_spectrum(system, inputs, dtype=dtype)
        np.testing.assert_allclose(ds.lyapunov_exponent[0], expected, rtol=0, atol=within)
