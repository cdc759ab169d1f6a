"""Hundreds of bad inputs, each to a command in a process that was forked from a warm one."""

import contextlib
import gc
import importlib
import os
import select
import shutil
import signal
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn

import pytest

from densebench.host.errors import DensebenchError

EACH_TIME = 10
CASES = pytest.StashKey[list[str]]()
OURS = f"{os.sep}densebench{os.sep}"
LIMIT = 30.0  # seconds that a case may take where much else is going on
# What commands import when they need it: once for all cases.
WARM = (
    "densebench.cli",
    "densebench.backbones.timm_vit",
    "densebench.backbones.weights.hub",
    "densebench.demo",
    "densebench.features.arrays",
    "densebench.posttrain.session",
    "densebench.prepare.pipeline",
    "densebench.report.board.board",
    "densebench.report.formats.terminal",
    "densebench.run.execute",
    "densebench.run.matrix",
    "densebench.run.predict",
    "densebench.run.profile",
    "faiss",
    "sklearn.decomposition",
    "torch.utils.data",
)
NET = """
import torch

class Patches(torch.nn.Module):
    patch_size, embed_dim = 14, 4

    def __init__(self):
        super().__init__()
        self.proj = torch.nn.Conv2d(3, 4, 14, stride=14)

    def forward(self, images):
        return self.proj(images).permute(0, 2, 3, 1)

def make():
    torch.manual_seed(0)
    return Patches()
"""
RECIPE = """
name = "tiny"
[views]
global_size = 28
local_size = 14
local_crops = 1
global_scale = [0.6, 1.0]
local_scale = [0.4, 0.6]
[loss]
queue_size = 16
align_size = 2
[model]
head_hidden = 8
head_dim = 4
[optimiser]
backbone_lr = 1e-4
[training]
batch_size = 2
steps = 2
checkpoint_every = 1
"""
DEPTH = """input_size = 28
crop = 28
train_box = "full"
eval_box = "full"
steps = 2
warmup_steps = 1
batch_size = 2
"""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of each test some cases, evenly spread, are run each time; the others with ``-m slow``."""
    here = [item for item in items if item.path.parent == Path(__file__).parent]
    classes: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in here:
        classes[item.nodeid.partition("[")[0]].append(item)
    config.stash[CASES] = [f"{item.path.name}::{item.name}" for item in here]
    for cases in classes.values():
        step = -(-len(cases) // EACH_TIME)
        for number, item in enumerate(cases):
            if number % step:
                item.add_marker(pytest.mark.slow)


@pytest.fixture
def cases(request: pytest.FixtureRequest) -> list[str]:
    """All that were generated, those that are not run this time too."""
    return request.config.stash[CASES]


class Ended(NamedTuple):
    """How a command ended; no code if it had to be ended."""

    code: int | None
    out: str
    err: str

    @property
    def fault(self) -> str:
        """What no input may bring about, or nothing."""
        if self.code is None:
            return "it hangs"
        if "Traceback" in self.err or "Traceback" in self.out:
            return "a traceback"
        told = [line for line in self.err.splitlines() if line.startswith("error: ")]
        if self.code == 2 and (len(told) != 1 or not self.err.rstrip().endswith(told[0].rstrip())):
            return "no line that says why"
        return "" if self.code in (0, 2) else f"exit code {self.code}"


@pytest.fixture(scope="session")
def going() -> type["Going"]:
    """Starts a command in a fork of this process, where all that it may import is."""
    for name in WARM:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # else each fork copies what its own collections touch
    return Going


@pytest.fixture(scope="session")
def forked(going: type["Going"]) -> Callable[..., Ended]:
    """Runs a command in such a fork to its end."""

    def run(
        folder: Path, *arguments: str, env: dict[str, str] | None = None, limit: float = LIMIT
    ) -> Ended:
        return going(folder, list(arguments), env).ended(limit)

    return run


@pytest.fixture(scope="session")
def at_call() -> Callable[..., Callable[[], None]]:
    """Makes what has a process do something at its so manieth call of a function of ours."""

    def make(number: int, act: Callable[[], object]) -> Callable[[], None]:
        def count(frame: FrameType, event: str, _: object) -> None:
            nonlocal number
            if event == "call" and OURS in frame.f_code.co_filename:
                number -= 1
                if not number:
                    sys.setprofile(None)
                    act()

        return lambda: sys.setprofile(count)

    return make


def unexported() -> None:
    """A post-training ends before its weights are written."""

    def fail(*_: object) -> None:
        raise DensebenchError("stopped before the export")

    importlib.import_module("densebench.posttrain.session").export = fail  # type: ignore[attr-defined]


def as_it_is() -> None:
    """Nothing that a child does before its command."""


class Going:
    """A command in a fork of this process, which writes to pipes.

    ``first`` is what the child does before the command.
    """

    def __init__(
        self,
        folder: Path,
        arguments: list[str],
        env: dict[str, str] | None = None,
        first: Callable[[], object] = as_it_is,
    ) -> None:
        sys.stdout.flush()
        pipes = os.pipe(), os.pipe()
        self.process = os.fork()
        if not self.process:
            writes = [write for _, write in pipes]
            _become(folder, arguments, env or {}, writes, first)
        self._reads = [read for read, _ in pipes]
        self._told = {read: bytearray() for read in self._reads}
        for read, write in pipes:
            os.close(write)
            os.set_blocking(read, False)

    def stopped(self, limit: float = LIMIT) -> bool:
        """Whether it has come to a halt, or else to its end; waits for either."""
        until = time.monotonic() + limit
        while time.monotonic() < until:
            self._listen()
            done, status = os.waitpid(self.process, os.WNOHANG | os.WUNTRACED)
            if done:
                return os.WIFSTOPPED(status)
        return False

    def ended(self, limit: float = LIMIT) -> Ended:
        """How it ended; after ``limit`` seconds it is ended."""
        code, until = None, time.monotonic() + limit
        while code is None and time.monotonic() < until:
            self._listen()
            done, status = os.waitpid(self.process, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
        if code is None:
            os.killpg(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
        self._listen()
        for read in self._reads:
            os.close(read)
        return Ended(code, *(told.decode("utf-8", "replace") for told in self._told.values()))

    def _listen(self) -> None:
        """Wait a moment for what it says, so that no pipe is full."""
        for read in select.select(self._reads, [], [], 0.003)[0]:
            with contextlib.suppress(BlockingIOError):
                while part := os.read(read, 1 << 16):
                    self._told[read] += part
        time.sleep(0.003)


def _become(
    folder: Path,
    arguments: list[str],
    env: dict[str, str],
    streams: list[int],
    first: Callable[[], object],
) -> NoReturn:
    """The child: a command with its own streams, working directory and settings."""
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, stream in enumerate(streams, start=1):
            os.dup2(stream, number)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
        places = {"DENSEBENCH_CACHE": f"{folder}/.cache", "DENSEBENCH_HOME": f"{folder}/.home"}
        os.environ.update({**places, "HF_HUB_OFFLINE": "1", "COLUMNS": "200", **env})
        sys.argv = ["densebench", *arguments]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from densebench import cli
        from densebench.files import download

        # Nobody waits between tries for a network that is not there.
        timeout, tries, _, *others = download.Network.__init__.__defaults__ or ()
        download.Network.__init__.__defaults__ = (timeout, tries, 0.0, *others)
        first()
        cli.main()
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stderr.flush()
            sys.stdout.flush()
        os._exit(code)


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
    write_dataset: Callable[..., Path],
    write_depth: Callable[..., Path],
    forked: Callable[..., Ended],
    going: type["Going"],
) -> Path:
    """A folder in which everything was done once: data, runs, a head, a post-training."""
    folder = tmp_path_factory.mktemp("finished")
    write_dataset(folder / "data", 4, 2)
    (folder / "net.py").write_text(NET)
    (folder / "tiny.toml").write_text(RECIPE)
    for arguments in (
        ("run", "--backbone", "rgb_s14", "--task", "data/retrieval.toml", "--save-panels", "1"),
        ("run", "--backbone", "net.py:make", "--task", "data/linear.toml"),
    ):
        done = forked(folder, *arguments, "--results", "results")
        assert done.code == 0, done.err
    training = ("posttrain", "--backbone", "net.py:make", "--recipe", "tiny.toml")
    words = [*training, "--name", "mine", "--data", "data/images"]
    assert going(folder, words, first=unexported).ended().code == 2
    kept = shutil.copytree(folder / "posttrained/mine/checkpoints", folder / "kept")
    done = forked(folder, *words, "--resume")
    assert done.code == 0, done.err
    kept.rename(folder / "posttrained/mine/checkpoints")  # as a kill at the end leaves them
    (head,) = (folder / "results").rglob("*.head.safetensors")
    head.rename(folder / "head.safetensors")
    depth = write_depth(folder / "data", "depth_linear", DEPTH)
    task = str(depth.relative_to(folder))
    run = ("run", "--backbone", "rgb_s14", "--task", task, "--save-panels", "1")
    done = forked(folder, *run, "--results", "depth")
    assert done.code == 0, done.err
    (head,) = (folder / "depth").rglob("*.head.safetensors")
    head.rename(folder / "depth.safetensors")
    shutil.copy(folder / "data/images/picture00.png", folder / "good.png")
    return folder


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    copy = Path(shutil.copytree(finished, tmp_path / "place", symlinks=True))
    registered = copy / ".home/backbones/mine.toml"
    registered.unlink()
    registered.symlink_to(copy / "posttrained/mine/mine.toml")
    return copy


@pytest.fixture
def attempt(place: Path, forked: Callable[..., Ended]) -> Callable[..., Ended]:
    """Runs a command on bad input and judges how it ends.

    ``may_work`` says that the input is odd, but what the command makes of it is right;
    ``unwanted`` are files that a refusal must not leave; ``limit`` is in seconds.
    """

    def run(
        *arguments: str,
        env: dict[str, str] | None = None,
        may_work: bool = False,
        unwanted: tuple[str, ...] = ("out", "out.npz", "out.png"),
        limit: float = LIMIT,
    ) -> Ended:
        done = forked(place, *arguments, env=env, limit=limit)
        assert not done.fault, f"{done.fault}: {arguments}\n{done.out}\n{done.err}"
        assert may_work or done.code == 2, f"accepted: {arguments}\n{done.out}\n{done.err}"
        left = [path for name in unwanted if (path := place / name).exists() and done.code == 2]
        left += [path for path in place.rglob("*.part") if not path.name.startswith("weights")]
        assert not left, f"half written: {left}"
        return done

    return run
