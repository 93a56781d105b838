"""Measure what starting takes: CPU seconds of help, of an error, and of the import.

python benchmarks/startup.py            # half a minute; writes benchmarks/startup.json
python benchmarks/startup.py --quick    # once each, prints only
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

from lyapunov import machine

from lyapkit.provenance import provenance

OUTPUT = Path(__file__).with_suffix(".json")
COMMANDS = {
    "lyapkit --help": ["-m", "lyapkit", "--help"],
    "lyapkit spectrum --help": ["-m", "lyapkit", "spectrum", "--help"],
    "lyapkit inspect missing.pt": ["-m", "lyapkit", "inspect", "missing.pt"],
    "import lyapkit": ["-c", "import lyapkit"],
    "lyapkit.lyapunov_spectrum": ["-c", "import lyapkit; lyapkit.lyapunov_spectrum"],
    "import torch": ["-c", "import torch"],
}


def cpu_seconds(arguments: list[str]) -> float:
    """Return the CPU time, user and system, of Python with these arguments."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure, print, and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="once each, nothing written")
    options = parser.parse_args()
    repetitions = 1 if options.quick else 5
    for arguments in COMMANDS.values():
        cpu_seconds(arguments)  # so that files are in memory
    result = {
        name: statistics.median(cpu_seconds(arguments) for _ in range(repetitions))
        for name, arguments in COMMANDS.items()
    }
    for name, seconds in result.items():
        print(f"{name:<28} {seconds:.2f} s of CPU")
    if not options.quick:
        made = {"made": provenance(repetitions=repetitions), "machine": machine(), "result": result}
        OUTPUT.write_text(json.dumps(made, indent=2) + "\n")


if __name__ == "__main__":
    main()
