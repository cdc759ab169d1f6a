"""How a board is printed: one module a format."""
