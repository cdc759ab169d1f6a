"""The processes of one run: one, or one for each GPU, as `torchrun` would start them.

They end with whoever started them, and all of them when one has failed.
"""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from threading import Event, Thread
from typing import IO

from densebench.host.children import tied
from densebench.host.cores import THREADS
from densebench.host.gpus import VISIBLE

POLL = 0.05
GRACE = 20.0  # seconds in which the others may tell what they fail of, when one has failed
Hear = Callable[[str], object]


@dataclass(frozen=True)
class Share:
    """What a run has of this machine.

    Attributes:
        gpus: a process for each of them, as the environment names them; none for one process that
            sees what this one does.
        threads: for the arithmetic of each process; None sets no bound.
        stop: when it is set, the run ends as by Ctrl-C.
    """

    gpus: tuple[str, ...] = ()
    threads: str | None = None
    stop: Event = field(default_factory=Event)

    @property
    def processes(self) -> int:
        """How many do the run together."""
        return max(1, len(self.gpus))

    def environments(self) -> list[dict[str, str]]:
        """Of each process."""
        common = dict(os.environ)
        if self.gpus:
            common[VISIBLE] = ",".join(self.gpus)
        if self.threads is not None:
            common[THREADS] = self.threads
        if self.processes == 1:
            return [common]
        size = str(self.processes)
        common |= {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1"}
        common["MASTER_PORT"] = str(_free_port())
        ranks = map(str, range(self.processes))
        return [{**common, "RANK": rank, "LOCAL_RANK": rank} for rank in ranks]


def worked(
    command: Sequence[str], given: bytes, share: Share, hear: Hear | None = None
) -> tuple[list[int], str]:
    """The exit codes of all processes, and what the first one printed.

    Args:
        command: which is given one more word, the descriptor that ties it to this process.
        given: on the standard input of each.
        share: what they have of this machine.
        hear: is told each line of their standard error, which else is that of this process.
    """
    with TemporaryFile() as printed:
        children: list[subprocess.Popen[bytes]] = []
        with ExitStack() as stack:
            stack.callback(_wait_for, children)
            rope = stack.enter_context(tied())  # which is let go of first
            for environment in share.environments():
                children.append(
                    subprocess.Popen(
                        [*command, str(rope)],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.DEVNULL if children else printed,
                        stderr=None if hear is None else subprocess.PIPE,
                        pass_fds=(rope,),
                        env=environment,
                    )
                )
                _give(children[-1], given, hear)
            _watch(children, share.stop)
        printed.seek(0)
        return [child.returncode for child in children], printed.read().decode().strip()


def _give(child: "subprocess.Popen[bytes]", given: bytes, hear: Hear | None) -> None:
    if hear is not None:
        Thread(target=_tell, args=(child.stderr, hear), daemon=True).start()
    assert child.stdin is not None
    with suppress(BrokenPipeError), child.stdin as stream:  # where it has ended, its code tells
        stream.write(given)


def _tell(stream: IO[bytes], hear: Hear) -> None:
    with stream:
        for line in stream:
            hear(line.decode(errors="replace").rstrip())


def _watch(children: Sequence["subprocess.Popen[bytes]"], stop: Event) -> None:
    """Until all have ended, or are to end: one has failed, and the others had time to tell."""
    until = None
    while None in (codes := [child.poll() for child in children]) and not stop.is_set():
        now = time.monotonic()
        if until is None and any(codes):
            until = now + GRACE
        if until is not None and now > until:
            return
        time.sleep(POLL)


def _wait_for(children: Sequence["subprocess.Popen[bytes]"]) -> None:
    for child in children:
        child.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
