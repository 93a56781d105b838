"""Tasks that networks are trained on: data sets as input sequences with labels."""
