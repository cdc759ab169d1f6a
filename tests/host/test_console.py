"""How commands end: a line and a code, whatever became of their streams."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from densebench.host.console import guarded, one_line
from densebench.host.errors import DensebenchError

SCRIPT = """
import sys, time
from densebench.host.console import clean_stdout, guarded
def command():
    {body}
guarded(command)
"""


def run(body: str, **options: object) -> subprocess.CompletedProcess[str]:
    script = SCRIPT.format(body=body.strip().replace("\n", "\n    "))
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output="stdout" not in options,
        text=True,
        check=False,
        **options,  # type: ignore[call-overload]
    )


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("MemoryError()", "the memory is too small"),
        ("RuntimeError('DefaultCPUAllocator: no memory')", "the memory is too small"),
        ("OSError(28, 'x', 'file')", "no space left (file)"),
        ("'\\ud800'.encode()", "cannot be written as it is"),
    ],
)
def test_what_a_user_can_mend_is_told_in_one_line(error: str, told: str) -> None:
    done = run(f"raise {error}" if "encode" not in error else error)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_our_own_faults_keep_their_traceback() -> None:
    done = run("raise RuntimeError('what is that')")
    assert done.returncode == 1 and "Traceback" in done.stderr


def test_sigterm_ends_as_ctrl_c_does() -> None:
    done = run("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(9)")
    assert done.returncode == 130
    assert done.stderr == "interrupted; run the same command again to go on\n"


PRINTERS = {
    "print": "for i in range(100_000): print(i)",
    "clean": "with clean_stdout() as out:\n    for i in range(100_000): print(i, file=out)",
    "rich": "from densebench.host.screen import Console\n"
    "for i in range(2000): Console(file=sys.stdout).print(i)",
}


@pytest.mark.parametrize("printer", list(PRINTERS))
def test_who_reads_no_further_is_no_error(tmp_path: Path, printer: str) -> None:
    read, write = os.pipe()
    os.close(read)
    with (tmp_path / "told").open("w") as told:
        done = run(PRINTERS[printer], stdout=write, stderr=told)
    os.close(write)
    assert done.returncode == 0
    assert not (tmp_path / "told").read_text()


@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_do_no_harm(tmp_path: Path, streams: str) -> None:
    body = "with clean_stdout() as out:\n    print('told', file=out)\n"
    script = SCRIPT.format(body=(body + "open('done', 'w')").replace("\n", "\n    "))
    command = ["/bin/sh", "-c", f'"$1" -c "$2" {streams}', "sh", sys.executable, script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path) == ["done"]  # noqa: PTH208
    assert done.stdout == ("" if ">&-" in streams.replace("2>&-", "") else "told\n")


def test_a_name_that_is_no_text_is_printed_all_the_same() -> None:
    done = run("print('a\\udcff')")
    assert (done.returncode, done.stdout) == (0, "a\\udcff\n")


def test_the_signal_is_the_main_threads_alone() -> None:
    body = (
        "import threading\nfrom densebench.host.console import guarded as g\n"
        "ended = []\n"
        "def work():\n    try: g(lambda: 0)\n    except SystemExit as e: ended.append(e.code)\n"
        "t = threading.Thread(target=work); t.start(); t.join()\nassert ended == [0]"
    )
    assert run(body).returncode == 0


@given(st.text())
def test_a_line_is_one_and_can_be_seen(text: str) -> None:
    assert one_line(text).isprintable()


def test_an_error_sends_nothing_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise DensebenchError("no record of 'a\x1b[2J'\nunder b\x9b")

    with pytest.raises(SystemExit):
        guarded(fail)
    assert capsys.readouterr().err == "error: no record of 'a�[2J' under b�\n"
