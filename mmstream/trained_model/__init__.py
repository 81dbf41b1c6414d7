"""A trained model: loading it, verifying it, labelling with it, exporting it."""
