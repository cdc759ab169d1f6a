"""A run in processes of its own, which end with the one that started them.

A run that the system ends for memory is tried again with half the batch. One whose record exists is
read, not repeated.
"""

import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from densebench.cards.block_numbers import layers_text
from densebench.host.children import end_with_parent
from densebench.host.console import INTERRUPTED, USAGE, clean_stdout, explained
from densebench.host.errors import UnsuitedError
from densebench.host.progress import TerminalWatcher
from densebench.host.ranks import process_count
from densebench.host.screen import Console
from densebench.host.watcher import Watcher
from densebench.records.schema import RunRecord
from densebench.records.store import load_record
from densebench.run import done as done_before
from densebench.run.crew import Hear, Share, worked
from densebench.run.images import images_at_once
from densebench.run.options import RunOptions

OPTIONS = TypeAdapter(RunOptions)
ALONE = Share()
UNSUITED = 3  # a child's exit code, where the backbone cannot do what is asked
# What `-m densebench.run.apart` would do, but with this package and without the working directory,
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
from densebench.run.apart import child
sys.exit(child())
"""


@dataclass(frozen=True)
class Outcome:
    """One run: its record, or the reason why there is none."""

    options: RunOptions
    record: RunRecord | None
    path: Path | None
    reason: str = ""
    interrupted: bool = False  # from outside: it has not failed
    unsuited: bool = False  # the backbone cannot do it: nothing has failed

    @property
    def run(self) -> str:
        """Which run it was, in words."""
        return words(self.options)


def words(options: RunOptions) -> str:
    """A run, for whoever waits for it."""
    part = f", subset {options.subset} of seed {options.subset_seed}" if options.subset else ""
    layers = "" if options.layers is None else f", {layers_text(options.layers)}"
    return f"{options.backbone}{layers} on {options.task}, seed {options.seed}{part}"


def run_apart(
    options: RunOptions, watcher: Watcher, share: Share = ALONE, hear: Hear | None = None
) -> Outcome:
    """One run in processes of its own, in smaller batches while the system kills one.

    Args:
        options: which run.
        watcher: is told of what was done before, and of what is tried again.
        share: what it has of this machine.
        hear: is told each line that it prints on standard error, which else is this process's.
    """
    known = done_before.recall(options)
    if known is not None:
        watcher.say(done_before.told(known[1]))
        return Outcome(options, *known)
    command = [sys.executable, "-c", CHILD, str(Path(__file__).parents[1])]
    codes, told = worked(command, OPTIONS.dump_json(options), share, hear)
    if -signal.SIGKILL in codes and options.batch_size > 1:
        half = options.batch_size // 2
        watcher.say(f"killed, most likely for memory; again with batches of {half}")
        return run_apart(replace(options, batch_size=half), watcher, share, hear)
    failed = next((code for code in codes if code), 0)
    if not failed and told:
        return Outcome(options, load_record(Path(told)), Path(told))
    left = f"ended with exit code {failed}, and left no record"
    ends = INTERRUPTED in codes, failed == UNSUITED
    return Outcome(options, None, None, told or left, *ends)


def child() -> int:
    """One run: options on standard input; on standard output the record's path, or what failed."""
    end_with_parent(int(sys.argv[2]))
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # Slurm's word to the parent reaches it too
    options = OPTIONS.validate_json(sys.stdin.buffer.read())
    with clean_stdout() as stdout:
        watcher = TerminalWatcher(Console(stderr=True))
        try:
            images = images_at_once(options, watcher) if process_count() == 1 else None
            from densebench.run.execute import evaluate  # torch is for the child alone

            _, path = evaluate(options, watcher, images)
        except KeyboardInterrupt:
            return INTERRUPTED
        except Exception as error:
            told = explained(error)
            if told is None:
                raise
            print(" ".join(told.split()), file=stdout)
            return UNSUITED if isinstance(error, UnsuitedError) else USAGE
        print(path, file=stdout)
    return 0
