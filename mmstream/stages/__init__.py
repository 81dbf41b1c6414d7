"""Beam transforms: thin wrappers around the work that other packages do on one part."""
