"""Records: what is refused, and that a file is whole or not there."""

import json

import pytest

from densebench.errors import DensebenchError
from densebench.results import content_hash, load_record, safe_name, write_atomically


def test_content_hash_does_not_depend_on_order():
    assert content_hash({"a": 1, "b": [2, 3]}) == content_hash({"b": [2, 3], "a": 1})
    assert content_hash({"a": 1}) != content_hash({"a": 2})


def test_names_become_one_path_component():
    assert safe_name("lite.py:load") == "lite.py_load"
    assert "/" not in safe_name("../../etc/passwd")
    assert not safe_name("../x").startswith(".")
    assert len(safe_name("x" * 500)) < 120


@pytest.mark.parametrize("text", ["", "[]", "no json", '{"run_id": "x"}', '{"schema_version": 9}'])
def test_what_is_no_record_is_one_line(tmp_path, text):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(DensebenchError, match=r"r\.json") as error:
        load_record(path)
    assert "\n" not in str(error.value)


def test_unknown_keys_are_refused(tiny_record, tmp_path):
    values = tiny_record.model_dump(mode="json")
    values["protocol"]["extra"] = 1
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(values))
    with pytest.raises(DensebenchError, match=r"unknown key 'protocol.extra'"):
        load_record(changed)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    write_atomically(path, "old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
