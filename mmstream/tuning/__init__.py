"""The search for settings: trials of a config with open values, and the best of them."""
