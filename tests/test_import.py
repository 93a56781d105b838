"""What is loaded when: names on first use, and nothing heavy for a command's help or a wrong file."""

import subprocess
import sys

import pytest

import lyapkit as lk


def _loaded(code):
    heavy = ("torch", "scipy.stats", "matplotlib.pyplot", "xarray", "pandas")
    program = f"{code}\nimport sys\nprint([name for name in {heavy} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_every_public_name_is_there():
    assert len(set(lk.__all__)) == len(lk.__all__) > 60
    for name in lk.__all__:
        assert getattr(lk, name) is not None
    assert set(lk.__all__) <= set(dir(lk))
    with pytest.raises(AttributeError, match="lyapunov_spectra"):
        _ = lk.lyapunov_spectra


def test_importing_loads_nothing_heavy():
    assert _loaded("import lyapkit").strip() == "[]"


def test_spectra_do_without_statistics_and_pictures():
    assert (
        _loaded("import lyapkit; lyapkit.lyapunov_spectrum, lyapkit.train").strip() == "['torch', 'xarray', 'pandas']"
    )


@pytest.mark.parametrize("arguments", [["--help"], ["spectrum", "--help"], ["inspect", "missing.pt"]])
def test_help_and_missing_files_load_nothing_heavy(arguments):
    code = f"from lyapkit import cli\nimport sys\nsys.argv[1:] = {arguments}\ntry: cli.main()\nexcept SystemExit: pass"
    assert _loaded(code).splitlines()[-1] == "[]"


def test_checking_a_loss_does_not_load_the_compiler():
    code = "import torch; from lyapkit.losses.checks import checked_loss\n"
    code += "outputs, targets = torch.zeros(4, 3, requires_grad=True), torch.tensor([0, 1, 2, 0])\n"
    code += "checked_loss(torch.nn.functional.cross_entropy, outputs, targets)\n"
    program = f"{code}import sys\nprint('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
