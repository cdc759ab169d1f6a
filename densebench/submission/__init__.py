"""Records that are to join the leaderboard: checked against all that they follow from, and packed.

A problem is one line; all of them are found at once. What is said of a record is never believed
where it can be computed again.
"""
