"""Records, the media that they name, and large values, which are stored separately."""
