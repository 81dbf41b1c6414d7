"""Beam transforms: thin wrappers around the work that other rooms do on one part."""
