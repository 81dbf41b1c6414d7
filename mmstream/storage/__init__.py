"""Files on local disks and on Beam's filesystems, and the small JSON files that jobs keep in an output."""
