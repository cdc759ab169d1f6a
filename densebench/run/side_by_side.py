"""Jobs at the same time, each on a part of the GPUs of this machine."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Event

from densebench.host.cores import threads_each
from densebench.host.gpus import shared_out
from densebench.host.watcher import Watcher
from densebench.run.apart import Outcome, run_apart, words
from densebench.run.crew import Share
from densebench.run.options import RunOptions


class SideBySide:
    """As many jobs at a time as there are GPUs; what one of them says begins with its run.

    Args:
        runs: all of them, in the order in which they are counted.
        gpus: as the environment names them.
        watcher: is told what they say.
    """

    def __init__(self, runs: Sequence[RunOptions], gpus: Sequence[str], watcher: Watcher) -> None:
        self._runs, self._gpus, self._watcher = runs, gpus, watcher
        self._free: SimpleQueue[tuple[str, ...]] = SimpleQueue()
        self._stop = Event()

    def outcomes(self, jobs: Sequence[Sequence[RunOptions]]) -> dict[int, Outcome]:
        """What became of each run, by its place among all; those of a job are done in turn."""
        count = min(len(jobs), len(self._gpus))
        for part in shared_out(self._gpus, count):
            self._free.put(part)
        self._watcher.say(f"{len(self._gpus)} GPUs: {count} runs at a time, a process on each GPU")
        places = {id(run): place for place, run in enumerate(self._runs)}
        pool = ThreadPoolExecutor(count)
        try:
            working = [pool.submit(self._work, {places[id(r)]: r for r in job}) for job in jobs]
            return {place: outcome for job in working for place, outcome in job.result().items()}
        finally:
            self._stop.set()
            pool.shutdown(cancel_futures=True)

    def _work(self, job: dict[int, RunOptions]) -> dict[int, Outcome]:
        gpus = self._free.get()
        try:
            return {place: self._go(place, run, gpus) for place, run in job.items()}
        finally:
            self._free.put(gpus)

    def _go(self, place: int, run: RunOptions, gpus: tuple[str, ...]) -> Outcome:
        name = f"[{place + 1}/{len(self._runs)}]"
        if self._stop.is_set():
            return Outcome(run, None, None, "not begun", interrupted=True)
        self._watcher.say(f"{name} {words(run)}, on GPU {', '.join(gpus)}")
        share = Share(gpus, threads_each(len(self._gpus)), self._stop)
        return run_apart(
            run, self._watcher, share, lambda line: self._watcher.say(f"{name} {line}")
        )
