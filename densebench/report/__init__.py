"""What people read: a board as data, its formats, and the code of its page."""
