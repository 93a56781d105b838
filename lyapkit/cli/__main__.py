"""Run the command line: `python -m lyapkit.cli`."""

from lyapkit.cli import main

main()
