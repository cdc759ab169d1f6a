"""What people read: terminal tables, the leaderboard in several formats, pictures of predictions."""
