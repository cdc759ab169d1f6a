"""What protocols fit to patch features."""
