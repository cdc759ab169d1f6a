"""The parts of the page, one file each: a section, its style, its script."""
