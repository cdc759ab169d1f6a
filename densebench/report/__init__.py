"""What people read: terminal tables, the markdown leaderboard, pictures of predictions."""
