"""From counts of pixels to numbers, their intervals and comparisons."""
