"""The flags of commands and jobs."""
