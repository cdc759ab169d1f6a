"""`densebench data prepare subsets` against a loopback server."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest

from densebench import cli
from densebench.datasets.published_lists import PublishedList, published_lists
from densebench.host.errors import DensebenchError
from densebench.prepare import subsets
from densebench.prepare.subsets import prepare_subsets

LISTS = {
    "file_sets/voc/1_div_128/trainaug_128_42.txt": b"2008_000002\n2007_000032\n",
    "file_sets/ade20k/1_div_8/training_8_783.txt": b"ADE_train_00000002\n",
}


@pytest.fixture
def lists(server: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[PublishedList, ...]:
    """Two short lists in place of the published ones, which the server has."""
    for path, body in LISTS.items():
        server.put(f"copy/{path}", body)
    table = tuple(
        PublishedList(path, len(body), body.count(b"\n"), hashlib.sha256(body).hexdigest())
        for path, body in LISTS.items()
    )
    monkeypatch.setattr(subsets, "published_lists", lambda: table)
    monkeypatch.setattr(subsets, "ADDRESS", f"{server.address}/copy")
    return table


def test_lists_are_fetched_once(
    lists: tuple[PublishedList, ...], server: Any, ear: Any, tmp_path: Path
) -> None:
    told = prepare_subsets(ear)
    assert told == f"subsets: 2 published lists in {tmp_path}/cache/file_sets"
    assert {e.path: e.file.read_bytes() for e in lists} == LISTS
    assert all(e.file.is_relative_to(tmp_path / "cache") for e in lists)
    asked = len(server.requests)
    assert asked == 2
    prepare_subsets(ear)
    assert len(server.requests) == asked


def test_another_content_is_refused_and_not_kept(
    lists: tuple[PublishedList, ...], server: Any, ear: Any
) -> None:
    server.put(f"copy/{lists[0].path}", b"2008_000002\n2007_000033\n")
    with pytest.raises(DensebenchError, match="but the published list's is"):
        prepare_subsets(ear)
    assert not lists[0].is_here and not lists[0].file.exists()


def test_a_changed_list_is_fetched_again(lists: tuple[PublishedList, ...], ear: Any) -> None:
    prepare_subsets(ear)
    lists[0].file.write_bytes(b"2008_000002\n")
    prepare_subsets(ear)
    assert lists[0].is_here


def test_from_a_mirror_by_the_command(
    lists: tuple[PublishedList, ...],
    server: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(subsets, "ADDRESS", "http://127.0.0.1:9")
    monkeypatch.setenv("DENSEBENCH_MIRROR", f"{server.address}/copy/")
    monkeypatch.setattr(sys, "argv", ["densebench", "data", "prepare", "subsets"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code and all(e.is_here for e in lists)
    assert capfd.readouterr().out.startswith("subsets: 2 published lists in ")


def test_without_a_network_one_line(
    lists: tuple[PublishedList, ...], ear: Any, network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subsets, "ADDRESS", "http://127.0.0.1:9")
    with pytest.raises(DensebenchError, match=r"cannot fetch .*DENSEBENCH_MIRROR"):
        prepare_subsets(ear, network)


def test_the_address_names_the_commit_of_the_table() -> None:
    commit = subsets.ADDRESS.rpartition("/")[2]
    table = Path(sys.modules[PublishedList.__module__].__file__ or "").with_name(
        "published_subsets.tsv"
    )
    assert commit in table.read_text().splitlines()[0]
    assert len(published_lists()) == 32
