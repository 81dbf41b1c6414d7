"""Runnable Beam jobs: each has its flags, a main and one pipeline."""
