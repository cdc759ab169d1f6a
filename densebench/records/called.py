"""Where records lie and what they are called; nothing heavy is loaded to know that."""

import re
from pathlib import Path

DEFAULT_RESULTS = Path("leaderboard") / "results"
LONGEST_NAME = 100
AS_THE_CARD_SAYS = "as the card says"  # weights that nobody chose instead


def safe_name(name: str) -> str:
    """A name as one component of a path; a long one ends in a hash."""
    safe = re.sub(r"[^A-Za-z0-9_.@+-]+", "_", name).lstrip(".") or "_"
    if len(safe) <= LONGEST_NAME:
        return safe
    from densebench.files.hashes import content_hash  # NumPy and archives come with it

    return f"{safe[:80]}-{content_hash(name)[:12]}"
