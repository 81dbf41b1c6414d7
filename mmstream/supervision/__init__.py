"""Surviving a record that kills or hangs the process."""
