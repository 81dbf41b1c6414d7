"""Finding plugins at run time, and building the components that a config names."""
