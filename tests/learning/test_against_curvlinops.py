"""Hessian and GGN products against curvlinops, an independent library, on PyTorch's own LSTM."""

import pytest
import torch
from torch import nn

from lyapkit.learning.objective import Objective
from lyapkit.learning.products import ggn_product, hessian_product

curvlinops = pytest.importorskip("curvlinops")


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent = nn.LSTM(2, 6, batch_first=True)
        self.readout = nn.Linear(6, 3)

    def forward(self, sequences):
        return self.readout(self.recurrent(sequences)[0][:, -1])


@pytest.mark.parametrize(
    ("operator", "product"),
    [("HessianLinearOperator", hessian_product), ("GGNLinearOperator", ggn_product)],
)
def test_lstm(operator, product):
    torch.manual_seed(4)
    model, loss = Classifier(), nn.CrossEntropyLoss()
    inputs, targets = torch.randn(9, 12, 2), torch.randint(3, (9,))
    objective = Objective(model, inputs, targets, loss, parameters="all", batch_size=4)
    named = dict(model.named_parameters())
    data = [(inputs[:5], targets[:5]), (inputs[5:], targets[5:])]
    theirs = getattr(curvlinops, operator)(model, loss, list(named.values()), data)
    vector = torch.randn(objective.size)
    parts = objective.split(vector)
    given = torch.cat([parts[name].reshape(-1) for name in named])
    expected = theirs @ given
    own = objective.split(product(objective, vector))
    torch.testing.assert_close(torch.cat([own[name].reshape(-1) for name in named]), expected, atol=1e-10, rtol=1e-9)
