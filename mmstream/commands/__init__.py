"""The code of each command of `mmstream`, given its flags; that of the jobs is in `beam_jobs`."""
