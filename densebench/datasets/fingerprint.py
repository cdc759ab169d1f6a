"""The fingerprint of labelled images."""

import hashlib
import json
from collections.abc import Mapping, Sequence


def sample_fingerprint(
    *,
    names: Sequence[str],
    image_files: Sequence[str],
    mask_files: Sequence[str],
    mask_rules: Sequence[bytes],
    meaning: Sequence[object],
    hashes: Mapping[str, str],
    order: Sequence[int] | None = None,
) -> str:
    """SHA-256 (hex) over what decides images, masks, their meaning and their order.

    ``hashes`` are of every file's content, by its path.
    """
    packed = {rules: hashlib.sha256(rules).hexdigest() for rules in set(mask_rules)}
    total = hashlib.sha256(json.dumps(list(meaning)).encode())
    for name, image, mask, rules in zip(names, image_files, mask_files, mask_rules, strict=True):
        total.update(json.dumps([name, hashes[image], hashes[mask], packed[rules]]).encode())
    if order is not None:
        total.update(json.dumps(list(order)).encode())
    return total.hexdigest()
