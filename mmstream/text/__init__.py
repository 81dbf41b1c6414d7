"""Text as characters: Unicode forms, escaping for terminals, regular expressions in graphs."""
