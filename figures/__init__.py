"""The figures and tables of the paper, one script each, which read data/ and know no model."""
