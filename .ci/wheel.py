"""Build the wheel, install it into a fresh environment, and use it there: the spectrum of the example that it contains.

The environment borrows the dependencies of the one that runs this script, so that PyTorch is not installed once more.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONTENT = (
    "lyapkit/__init__.pyi",
    "lyapkit/py.typed",
    "lyapkit/html_report.jinja",
    "lyapkit/plots/lyapkit.mplstyle",
    "lyapkit/example_data/digits_rows_lstm.safetensors",
    "lyapkit/example_data/digits_rows_inputs.nc",
)
EXPONENTS = """
import lyapkit as lk
checkpoint, inputs = lk.examples.digits()
assert checkpoint.is_relative_to({place!r}), checkpoint
ds = lk.lyapunov_spectrum(checkpoint, lk.read_inputs(inputs)[:1, :60], n_exponents=2)
lk.plot_spectrum(ds).figure.savefig("spectrum.png")
print(lk.spectrum_table(ds))
print(checkpoint, inputs, sep="\\n")
"""


def done(*command: str | Path, folder: Path) -> str:
    """Return what a command prints; leave with its errors if it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"MPLBACKEND": "Agg"}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{result.stdout}{result.stderr}")
    return result.stdout


def main(folder: Path) -> None:
    """Build, look into it, install, use."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    done(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT, folder=folder)
    (wheel,) = folder.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    if missing := set(CONTENT) - set(names):
        sys.exit(f"{wheel.name} lacks {', '.join(sorted(missing))}")
    if strange := [name for name in names if not name.startswith(("lyapkit/", "lyapkit-"))]:
        sys.exit(f"{wheel.name} contains {', '.join(strange)}")

    venv.create(folder / "environment", with_pip=False)
    python = folder / "environment" / "bin" / "python"
    done(*pip[:3], "--python", python, *pip[3:], "install", "--no-deps", "--no-index", wheel, folder=folder)
    place = done(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder).strip()
    (Path(place) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))

    lyapkit = folder / "environment" / "bin" / "lyapkit"
    version = done(lyapkit, "--version", folder=folder).split()[1]
    if f"lyapkit-{version}-" not in wheel.name:
        sys.exit(f"{wheel.name} says that it is version {version}")
    *_, checkpoint, inputs = done(python, "-c", EXPONENTS.format(place=place), folder=folder).splitlines()
    options = ("-k", "2", "--output", "spectrum.nc", "--quiet")
    table = done(lyapkit, "spectrum", checkpoint, "--inputs", inputs, *options, folder=folder)
    done(lyapkit, "plot", "spectrum.nc", folder=folder)
    print(f"{wheel.name} ({wheel.stat().st_size / 2**20:.1f} MiB), installed, says:\n\n{table}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
