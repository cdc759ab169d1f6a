"""Many runs, one after the other, each in a process of its own.

A run that fails becomes a row that says why, and the rest goes on. A run that the system ends for
memory is tried again with half the batch. Runs whose record exists are read, not repeated.
"""

import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGKILL

from pydantic import TypeAdapter
from rich.table import Table

from densebench.host.children import end_with_parent, tied
from densebench.host.console import INTERRUPTED, USAGE, clean_stdout, explained
from densebench.host.progress import TerminalWatcher
from densebench.host.screen import Console
from densebench.host.watcher import Watcher
from densebench.records.remarks import Remark, remarks, with_marks
from densebench.records.schema import RunRecord
from densebench.records.store import load_record
from densebench.run import done as done_before
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

OPTIONS = TypeAdapter(RunOptions)
# What `-m densebench.run.matrix` would do, but with this package and without the working directory,
# where a file such as statistics.py would be taken for the module of that name.
CHILD = """
import sys
if sys.path[:1] == [""]:
    del sys.path[0]
from importlib.util import find_spec
package = sys.argv[1]
found = find_spec("densebench")
if found is None or list(found.submodule_search_locations or ()) != [package]:
    sys.path.insert(0, package.rpartition("/")[0])
from densebench.run.matrix import child
sys.exit(child())
"""


@dataclass(frozen=True)
class Outcome:
    """One run of the matrix: its record, or the reason why there is none."""

    options: RunOptions
    record: RunRecord | None
    path: Path | None
    reason: str = ""

    @property
    def run(self) -> str:
        """Which run it was, in words."""
        return _words(self.options)


def run_matrix(
    base: RunOptions,
    backbones: Sequence[str],
    tasks: Sequence[str],
    seeds: Sequence[int],
    watcher: Watcher,
    subset_seeds: Sequence[int] | None = None,
) -> list[Outcome]:
    """Every backbone on every task with every seed; what ``base`` says holds for all.

    With ``subset_seeds``, on each of these parts of the training images.
    """
    wanted = [
        replace(base, backbone=backbone, task=task, seed=seed, subset_seed=subset_seed)
        for task in tasks
        for backbone in backbones
        for seed in seeds
        for subset_seed in subset_seeds or (base.subset_seed,)
    ]
    outcomes = []
    for number, options in enumerate(wanted, start=1):
        watcher.say(f"[{number}/{len(wanted)}] {_words(options)}")
        outcomes.append(_run_apart(options, watcher))
    return outcomes


def _words(options: RunOptions) -> str:
    part = f", subset {options.subset} of seed {options.subset_seed}" if options.subset else ""
    return f"{options.backbone} on {options.task}, seed {options.seed}{part}"


def _run_apart(options: RunOptions, watcher: Watcher) -> Outcome:
    """One run in a process of its own, in smaller batches while the system kills it."""
    known = done_before.recall(options)
    if known is not None:
        watcher.say(done_before.told(known[1]))
        return Outcome(options, *known)
    command = [sys.executable, "-c", CHILD, str(Path(__file__).parents[1])]
    with tied() as rope:
        done = subprocess.run(
            [*command, str(rope)],
            input=OPTIONS.dump_json(options),
            stdout=subprocess.PIPE,
            check=False,
            pass_fds=(rope,),
        )
    if done.returncode == -SIGKILL and options.batch_size > 1:
        half = options.batch_size // 2
        watcher.say(f"killed, most likely for memory; again with batches of {half}")
        return _run_apart(replace(options, batch_size=half), watcher)
    told = done.stdout.decode().strip()
    if done.returncode == 0 and told:
        return Outcome(options, load_record(Path(told)), Path(told))
    left = f"ended with exit code {done.returncode}, and left no record"
    return Outcome(options, None, None, told or left)


def matrix_table(outcomes: Sequence[Outcome]) -> Table:
    """A row for each backbone and task: mIoU, over seeds its mean and deviation."""
    table = Table(title="runs", title_justify="left")
    for column in ("backbone", "task", "mIoU %", "95% interval or deviation"):
        table.add_column(column, overflow="fold")
    pairs = dict.fromkeys((o.options.backbone, o.options.task) for o in outcomes)
    told: dict[str, None] = {}
    for backbone, task in pairs:
        of_pair = [o for o in outcomes if (o.options.backbone, o.options.task) == (backbone, task)]
        said = [r for o in of_pair for r in _remarks(o)]
        told |= dict.fromkeys(f"{r.mark} {backbone}: {r.sentence}" for r in said)
        table.add_row(with_marks(backbone, dict.fromkeys(said)), task, *_cells(of_pair))
    table.caption, table.caption_justify = "\n".join(told) or None, "left"
    return table


def _remarks(outcome: Outcome) -> tuple[Remark, ...]:
    if outcome.record is None or outcome.path is None:
        return ()
    return remarks([(outcome.path, outcome.record)])


def _cells(outcomes: Sequence[Outcome]) -> tuple[str, str]:
    failed = [o.reason for o in outcomes if o.record is None]
    if failed:
        return "failed", failed[0]
    scores = [o.record.score for o in outcomes if o.record is not None]
    main, values = scores[0].main, [score.value for score in scores]
    if len(values) > 1:
        parts = {(o.options.subset, o.options.subset_seed) for o in outcomes}
        what = "seeds" if len(parts) == 1 else "subsets" if len(parts) == len(values) else "runs"
        return (
            main.text(statistics.mean(values)),
            f"± {main.text(statistics.stdev(values))} ({len(values)} {what})",
        )
    return main.text(values[0]), main.interval_text


def child() -> int:
    """One run: options on standard input; on standard output the record's path, or what failed."""
    end_with_parent(int(sys.argv[2]))
    options = OPTIONS.validate_json(sys.stdin.buffer.read())
    with clean_stdout() as stdout:
        try:
            _, path = evaluate(options, TerminalWatcher(Console(stderr=True)))
        except KeyboardInterrupt:
            return INTERRUPTED
        except Exception as error:
            told = explained(error)
            if told is None:
                raise
            print(" ".join(told.split()), file=stdout)
            return USAGE
        print(path, file=stdout)
    return 0
