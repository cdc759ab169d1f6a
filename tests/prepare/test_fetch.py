"""Downloads from a server that breaks off, stalls, errs, lies and changes its mind."""

import dataclasses
import hashlib
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from densebench.files import download
from densebench.files.download import Network, UnreachableError, free_bytes
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.prepare.fetch import address, fetch
from densebench.prepare.sources import Archive

BODY = bytes(range(256)) * 800
NAME = "archive.zip"


def archive(server: Any, body: bytes = BODY, **changes: Any) -> Archive:
    values: dict[str, Any] = {
        "url": f"{server.address}/{NAME}",
        "size": len(body),
        "checksum": f"sha256:{hashlib.sha256(body).hexdigest()}",
        "unpacked": 1,
        **changes,
    }
    return Archive(**values)


@pytest.fixture
def get(tmp_path: Path, server: Any, network: Network, ear: Any) -> Any:
    def call(**changes: Any) -> bytes:
        patient = changes.pop("network", network)
        path = fetch(NAME, archive(server, **changes), tmp_path, ear, patient)
        assert path == tmp_path / NAME
        assert [file.name for file in tmp_path.iterdir() if file.is_file()] == [NAME]
        return path.read_bytes()

    return call


def ranges(server: Any) -> list[str | None]:
    return [wanted for _, wanted in server.requests]


def test_whole(get: Any, server: Any) -> None:
    server.put(NAME, BODY)
    assert get() == BODY
    assert get() == BODY
    assert ranges(server) == [None]


def test_broken_off_goes_on(get: Any, server: Any, pauses: list[float], ear: Any) -> None:
    server.put(NAME, BODY, cut=[100_000, 50_000])
    assert get() == BODY
    assert ranges(server) == [None, "bytes=100000-", "bytes=150000-"]
    assert pauses == [1.0, 2.0]
    assert "broke off after 100,000 of 204,800 bytes; trying again in 1 s" in ear.lines[0]


def test_a_stall_is_noticed(get: Any, server: Any) -> None:
    server.put(NAME, BODY, stalls=1)
    assert get() == BODY
    assert ranges(server) == [None, f"bytes={len(BODY) // 2}-"]


def test_it_always_stalls(get: Any, server: Any, pauses: list[float], tmp_path: Path) -> None:
    server.put(NAME, BODY, stalls=99)
    with pytest.raises(UnreachableError, match=r"timed out; gave up after 3 tries\); get archive"):
        get()
    assert len(pauses) == 2
    assert (tmp_path / f"{NAME}.part").stat().st_size > len(BODY) // 2  # for the next time


def test_errors_that_pass(get: Any, server: Any, pauses: list[float]) -> None:
    server.put(NAME, BODY, statuses=[500, 503])
    assert get() == BODY
    assert pauses == [1.0, 7.0]  # the second was asked for by the server


@pytest.mark.parametrize("status", [404, 403, 410, 401])
def test_errors_that_stay(get: Any, server: Any, status: int, pauses: list[float]) -> None:
    server.put(NAME, BODY, statuses=[status] * 9)
    with pytest.raises(UnreachableError, match=rf"cannot fetch .*{NAME} \(HTTP {status} .*--from"):
        get()
    assert (len(server.requests), pauses) == (1, [])


def test_bounded_tries(get: Any, server: Any, pauses: list[float]) -> None:
    server.put(NAME, BODY, statuses=[500] * 99)
    with pytest.raises(UnreachableError, match=r"HTTP 500 .*; gave up after 3 tries"):
        get()
    assert (len(server.requests), pauses) == (3, [1.0, 2.0])


def test_what_brings_something_is_tried_on(
    get: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "WORTH", 10_000)
    server.put(NAME, BODY, cut=[20_000] * 9)
    assert get() == BODY


def test_a_changed_file_starts_again(get: Any, server: Any, tmp_path: Path) -> None:
    server.put(NAME, b"x" * len(BODY), cut=[100_000])
    server.files[f"/{NAME}"].statuses = [200, 404]
    with pytest.raises(UnreachableError):
        get()
    server.put(NAME, BODY)
    assert get() == BODY
    assert ranges(server) == [None, "bytes=100000-", "bytes=100000-"]


def test_a_changed_file_with_a_weak_etag(get: Any, server: Any, ear: Any) -> None:
    server.put(NAME, b"x" * len(BODY), etag='W/"old"', cut=[100_000])
    server.files[f"/{NAME}"].statuses = [200, 404]
    with pytest.raises(UnreachableError):
        get()
    server.put(NAME, BODY, etag='W/"new"')
    assert get() == BODY
    assert ranges(server) == [None, "bytes=100000-", "bytes=100000-", None]
    assert "the file on the server is another one now" in ear.lines[-1]


def test_a_changed_file_without_validators(get: Any, server: Any, ear: Any) -> None:
    """Nothing tells, until the checksum: then it is fetched once more, in one go."""
    server.put(NAME, b"x" * len(BODY), etag="", cut=[100_000])
    server.files[f"/{NAME}"].statuses = [200, 404]
    with pytest.raises(UnreachableError):
        get()
    server.put(NAME, BODY, etag="")
    assert get() == BODY
    assert ranges(server) == [None, "bytes=100000-", "bytes=100000-", None]
    assert "does not match; fetching it from the start" in ear.lines[-1]


def test_by_its_date(get: Any, server: Any) -> None:
    date = "Mon, 14 May 2012 10:00:00 GMT"
    server.put(NAME, BODY, etag="", modified=date, cut=[100_000])
    assert get() == BODY
    assert ranges(server) == [None, "bytes=100000-"]


def test_a_server_without_ranges(get: Any, server: Any) -> None:
    server.put(NAME, BODY, ranges=False, cut=[100_000])
    assert get() == BODY
    assert len(server.requests) == 2


def test_a_shorter_file_than_before(get: Any, server: Any, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(b"x" * 300_000)
    state = {"url": f"{server.address}/{NAME}", "etag": None, "modified": None, "size": None}
    (tmp_path / f"{NAME}.part.json").write_text(json.dumps(state))
    server.put(NAME, BODY)
    assert get() == BODY
    assert ranges(server) == ["bytes=300000-", None]


@pytest.mark.parametrize("state", ["", "[]", '{"url": 1}', '{"url": "http://other"}'])
def test_a_part_that_nothing_vouches_for(get: Any, server: Any, tmp_path: Path, state: str) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(b"x" * 1000)
    (tmp_path / f"{NAME}.part.json").write_text(state)
    server.put(NAME, BODY)
    assert get() == BODY
    assert ranges(server) == [None]


def test_wrong_checksum(get: Any, server: Any, tmp_path: Path) -> None:
    server.put(NAME, b"y" * len(BODY))
    with pytest.raises(DensebenchError, match=r"its SHA256 is .* it is damaged or another release"):
        get()
    assert list(tmp_path.glob("archive*")) == []
    assert len(server.requests) == 1
    server.put(NAME, BODY)
    for kind in ("md5", "sha1"):
        digest = hashlib.new(kind, BODY).hexdigest()
        assert get(checksum=f"{kind}:{digest}") == BODY
    with pytest.raises(DensebenchError, match="its MD5 is"):
        get(checksum="md5:" + 32 * "0")


def test_a_damaged_archive_is_fetched_again(get: Any, server: Any, tmp_path: Path) -> None:
    server.put(NAME, BODY)
    (tmp_path / NAME).write_bytes(b"z" * len(BODY))
    assert get() == BODY


def test_another_size(get: Any, server: Any, tmp_path: Path) -> None:
    server.put(NAME, b"<html>moved</html>")
    with pytest.raises(UnreachableError, match="announces 18 bytes, but the official archive has"):
        get()
    assert list(tmp_path.glob("archive*")) == []


def test_a_size_that_is_known_roughly(get: Any, server: Any) -> None:
    server.put(NAME, BODY)
    assert get(size=None, about=len(BODY) - 1000) == BODY
    server.put("archive.zip", BODY * 3)
    with pytest.raises(UnreachableError, match=r"announces 614,400 bytes, far more than expected"):
        get(size=None, about=len(BODY), checksum="md5:" + 32 * "0")


def test_more_than_it_may_have(get: Any, server: Any, tmp_path: Path) -> None:
    server.put(NAME, BODY + b"more", length=False)
    with pytest.raises(UnreachableError, match="sent more than the 204,800 bytes that it may have"):
        get()
    assert list(tmp_path.glob("archive*")) == []
    server.put(NAME, BODY, length=False)
    assert get() == BODY


def test_no_room(get: Any, server: Any, network: Network) -> None:
    server.put(NAME, BODY)
    full = dataclasses.replace(network, free=lambda folder: 200_000)
    with pytest.raises(DensebenchError, match=r"needs 0.00 GB more in .*, and 0.00 GB are free"):
        get(network=full)
    server.put(NAME, BODY, cut=[100_000])
    short = dataclasses.replace(network, free=lambda folder: 210_000)
    assert get(network=short) == BODY


def test_a_mirror_by_file_name(
    get: Any, server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DENSEBENCH_MIRROR", f"{server.address}/data/")
    server.put(f"data/{NAME}", BODY)
    assert get(url="http://127.0.0.1:9/official/archive.zip") == BODY
    (tmp_path / NAME).unlink()
    server.put(f"data/{NAME}", b"y" * len(BODY))
    with pytest.raises(DensebenchError, match=r"/data/archive.zip: .*its SHA256 is"):
        get()  # it is believed no more than the official one
    monkeypatch.setenv("DENSEBENCH_MIRROR", "file:///etc")
    with pytest.raises(
        DensebenchError, match="must be an http or https address, not 'file:///etc'"
    ):
        get()


def test_behind_an_account_there_is_no_address(
    server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DENSEBENCH_MIRROR", server.address)
    private = archive(server, url=None)
    assert address(NAME, private) is None
    with pytest.raises(DensebenchError, match="is behind an account and cannot be downloaded"):
        fetch(NAME, private, tmp_path, Watcher())


def test_free_space_where_a_folder_will_be(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "yet") > 0


def test_the_loopback_is_not_proxied() -> None:
    assert "http" not in urllib.request.getproxies_environment()
