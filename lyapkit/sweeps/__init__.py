"""Sweeps over many independent cells: each computed once, kept in a file of its own, and all joined in the end."""

from lyapkit.sweeps.cells import Cell, cell_path, is_done, join_cells, joined, parted, save_cell
from lyapkit.sweeps.running import run_cells

__all__ = ["Cell", "cell_path", "is_done", "join_cells", "joined", "parted", "run_cells", "save_cell"]
