"""The fingerprint of labelled images."""

import hashlib
import json
from collections.abc import Sequence

from densebench.files.hashes import content_hashes


def sample_fingerprint(
    *,
    names: Sequence[str],
    image_files: Sequence[str],
    mask_files: Sequence[str],
    mask_rules: Sequence[bytes],
    meaning: Sequence[object],
    order: Sequence[int] | None = None,
) -> str:
    """SHA-256 (hex) over what decides images, masks, their meaning and their order.

    Raises:
        DensebenchError: a file cannot be read.
    """
    hashes = content_hashes([*image_files, *mask_files])
    total = hashlib.sha256(json.dumps(list(meaning)).encode())
    for name, image, mask, rules in zip(names, image_files, mask_files, mask_rules, strict=True):
        rules_hash = hashlib.sha256(rules).hexdigest()
        total.update(json.dumps([name, hashes[image], hashes[mask], rules_hash]).encode())
    if order is not None:
        total.update(json.dumps(list(order)).encode())
    return total.hexdigest()
