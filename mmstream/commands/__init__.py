"""What each command of `mmstream` does with its flags; jobs have theirs in `beam_jobs`."""
