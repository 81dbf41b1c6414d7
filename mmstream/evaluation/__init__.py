"""How good a model is: metrics, confidence intervals, comparison and report."""
