"""What people read: terminal tables, the leaderboard in its formats, pictures of predictions."""
