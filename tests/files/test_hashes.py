"""Hashes of values and of files, and the index that spares hashing a file twice."""

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from densebench.files import hashes
from densebench.files.hashes import content_hash


def test_two_processes_keep_one_index(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(60):
        (folder / str(i)).write_text(str(i))
    script = (
        "import sys; from densebench.files import archives\n"
        "from densebench.files.hashes import content_hashes\n"
        "archives.YOUNG_NS = -1\n"
        "first, last = map(int, sys.argv[2:])\n"
        "for i in range(first, last): content_hashes([f'{sys.argv[1]}/{i}'])"
    )
    command = [sys.executable, "-c", script, str(folder)]
    with ThreadPoolExecutor() as pool:
        halves = [("0", "40"), ("20", "60")]
        runs = list(pool.map(lambda half: subprocess.run([*command, *half], check=True), halves))
    assert [run.returncode for run in runs] == [0, 0]
    (index,) = (tmp_path / "cache" / "hashes").glob("*.json")
    entries = json.loads(index.read_text())
    assert len(entries) >= 20, "a process keeps what the other has added, save for a rare race"
    fresh = hashes.content_hashes([str(folder / str(i)) for i in range(60)])
    assert all(entry[1] == fresh[str(folder / name)] for name, entry in entries.items())
    assert not list(index.parent.glob("*.part"))


def test_hashes_are_sha256_of_the_content(tmp_path: Path) -> None:
    content = os.urandom(3 * hashes.BLOCK + 5)
    (tmp_path / "large").write_bytes(content)
    expected = hashlib.sha256(content).hexdigest()
    files = [f"{tmp_path}/large", f"{tmp_path}/cache/../large"]
    (tmp_path / "cache").mkdir()
    assert hashes.content_hashes(files) == dict.fromkeys(files, expected)


def test_a_hash_follows_content_not_the_order_of_keys() -> None:
    assert content_hash({"a": 1, "b": [1, 2]}) == content_hash({"b": [1, 2], "a": 1})
    others = [{"a": 1, "b": [2, 1]}, {"a": 1}, {"a": "1", "b": [1, 2]}, {"a": 1.5, "b": [1, 2]}]
    found = {content_hash(value) for value in others}
    assert len(found) == len(others)
    assert content_hash({"a": 1, "b": [1, 2]}) not in found
