import matplotlib
import matplotlib.pyplot
import pytest
import torch

matplotlib.use("Agg")
torch.set_num_threads(1)  # tests run side by side


@pytest.fixture(autouse=True)
def _float64_and_seed():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    matplotlib.pyplot.close("all")
