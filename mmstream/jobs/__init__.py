"""What surrounds every job: its input, the output that it holds, its progress, and its final report."""
