"""Datasets as text: a table for each kind, what is left out of its means, and how its numbers are written."""
