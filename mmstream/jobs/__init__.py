"""Everything around the work of a job: its input, the output that it holds, its progress, and its final report."""
