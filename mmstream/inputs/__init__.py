"""Inputs: which source reads an input, which files it has, and which of its rows are records."""
