"""What a leaderboard is, as data: rows, tables, ranks, pairs, shares, published numbers."""
