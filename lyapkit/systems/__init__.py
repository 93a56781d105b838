"""What evolves: the `System` interface, systems from functions and differential equations, textbook examples."""

from lyapkit.systems import classical
from lyapkit.systems.flow import Flow
from lyapkit.systems.map import Map
from lyapkit.systems.system import System

__all__ = ["Flow", "Map", "System", "classical"]
