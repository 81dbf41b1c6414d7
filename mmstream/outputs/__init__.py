"""Output directories: their parts and commits, who holds them, and the commands that check and repair them."""
