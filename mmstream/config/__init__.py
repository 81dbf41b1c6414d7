"""The config file: its keys, and how it is read and checked."""
