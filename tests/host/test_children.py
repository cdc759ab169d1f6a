"""A child ends with the process that started it, however that one ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PARENT = """
import subprocess, sys
from densebench.host.children import tied
with tied() as rope:
    subprocess.run([sys.executable, "-c", sys.argv[1], str(rope)], pass_fds=(rope,))
"""
CHILD = """
import os, sys, time
from densebench.host.children import end_with_parent
end_with_parent(int(sys.argv[1]))
try:
    print(os.getpid(), flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("ended", flush=True)
"""


def is_there(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc is not here")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_ends_with_its_parent(how: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(parent.pid, how)
        assert parent.stdout.readline() == "ended\n"
        until = time.monotonic() + 5
        while is_there(child) and time.monotonic() < until:
            time.sleep(0.02)
        assert not is_there(child)
