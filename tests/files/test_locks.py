"""Locks hold, follow no link and write nothing."""

import os
import signal
import stat
import time
from pathlib import Path

import pytest

from densebench.files.locks import held, is_free
from densebench.host.errors import DensebenchError


def wait() -> None:
    pass


def refuse() -> None:
    raise BlockingIOError


def test_one_holds_it_and_a_second_is_told(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with held(lock, taken=wait):
        assert not is_free(lock)
        with pytest.raises(BlockingIOError), held(lock, taken=refuse):
            pytest.fail("two hold it")
    assert is_free(lock)


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_not_followed(tmp_path: Path, there: bool) -> None:
    precious = tmp_path / "precious"
    if there:
        precious.write_text("thesis")
    (tmp_path / "lock").symlink_to(precious)
    with (
        pytest.raises(DensebenchError, match="a link or no file"),
        held(tmp_path / "lock", taken=wait),
    ):
        pytest.fail("it was followed")
    assert precious.exists() == there
    assert not there or precious.read_text() == "thesis"


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_what_is_no_file_is_refused(tmp_path: Path, make: object) -> None:
    make(tmp_path / "lock")  # type: ignore[operator]
    with (
        pytest.raises(DensebenchError, match="a link or no file"),
        held(tmp_path / "lock", taken=wait),
    ):
        pytest.fail("it was taken")


def test_what_lies_in_its_place_is_not_written_over(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text("somebody's words")
    with held(lock, taken=wait):
        pass
    assert lock.read_text() == "somebody's words"
    assert not is_free(tmp_path / "absent")


def test_the_umask_decides_who_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with held(tmp_path / "lock", taken=wait):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600


def test_a_process_that_was_forked_meanwhile_does_not_hold_it_on(tmp_path: Path) -> None:
    """As loader processes are, which stay for the passes to come."""
    place, child = tmp_path / "a.lock", 0
    try:
        with held(place, taken=refuse):
            child = os.fork()
            if not child:
                time.sleep(60)
                os._exit(0)
        assert is_free(place)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
