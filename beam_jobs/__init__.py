"""Runnable Beam jobs: flags, one main, one pipeline expression each."""
