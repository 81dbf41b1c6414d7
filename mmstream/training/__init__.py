"""Training: from a config and examples to a trained model."""
