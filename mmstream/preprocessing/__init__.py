"""Preprocessing: from a record to tensors, and the examples that hold them."""
