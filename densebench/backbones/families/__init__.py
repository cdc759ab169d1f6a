"""The families of backbones that a card's ``source`` can name: one module each."""
