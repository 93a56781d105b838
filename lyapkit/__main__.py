"""`python -m lyapkit`: the command line."""

from lyapkit.cli import main

if __name__ == "__main__":
    main()
