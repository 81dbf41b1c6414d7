"""The process itself: threads, signs of life, memory budget, temporary folders and imports."""
