"""Losses: by their names, and what is asked of any loss."""

from lyapkit.losses.broadcasting import WithoutBroadcasting
from lyapkit.losses.checks import checked_loss
from lyapkit.losses.named import LOSSES, Loss, named_loss

__all__ = ["LOSSES", "Loss", "WithoutBroadcasting", "checked_loss", "named_loss"]
