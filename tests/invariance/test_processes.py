"""Whole runs by several processes on one machine: the same record as by one."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from densebench.records.store import load_record

from .conftest import facts, hog

LONGEST = 400.0  # seconds
# The processes are joined once for all runs, since to start them takes most of the time.
PROGRAM = """
import json, sys
from pathlib import Path
import torch
from densebench.host.distributed import joined
from densebench.host.watcher import Watcher
from densebench.run.execute import Run
from densebench.run.options import RunOptions

if sys.argv[2] == "sharded":
    from densebench.learners import sharded_search
    sharded_search.MEMORY_SHARE, sharded_search.ALIGNED_ROWS = 0, 4
if sys.argv[2] == "blocks":
    from densebench.features import blocks, entries
    blocks.BLOCK_IMAGES = entries.BLOCK_IMAGES = 2
with joined(torch.device("cpu")) as world:
    for options in json.loads(sys.argv[1]):
        options["results"] = Path(options["results"])
        _, path = Run(RunOptions(**options), Watcher(), world).record()
        if world.is_main:
            print(path)
"""
VIT = """
import os
import signal
import timm
import torch

class Patches(torch.nn.Module):
    patch_size = 14
    seen = 0

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.vit = timm.models.vision_transformer.VisionTransformer(
            img_size=56,
            patch_size=14,
            embed_dim=48,
            depth=2,
            num_heads=3,
            num_classes=0,
            dynamic_img_size=True,
        )

    def forward(self, images):
        self.seen += 1
        if self.seen == int(os.environ.get("ENDS_AT", 0)) and os.environ.get("RANK") == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        tokens = self.vit.forward_features(images)[:, 1:]
        return tokens.unflatten(1, (images.shape[2] // 14, images.shape[3] // 14))

    def attention(self, images):
        tokens = self.vit.forward_features(images).unflatten(2, (3, 16)).transpose(1, 2)
        shares = (tokens[:, :, :1] @ tokens[:, :, 1:].mT).softmax(dim=-1)[:, :, 0]
        return shares.unflatten(2, (images.shape[2] // 14, images.shape[3] // 14))

def build():
    return Patches()
"""
UNBOUNDED = {"memory_size": "unbounded"}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("in_context", {}),
    ("in_context", UNBOUNDED),
    ("linear", {"drop_last_val": True}),
    ("overclustering", {}),
    ("knn", {}),
    ("depth_linear", {}),
    ("depth_in_context", {}),
    ("logreg", {}),
    ("sliding_linear", {}),
]
ATTENTIVE: list[tuple[str, dict[str, Any]]] = [("attention_jaccard", {}), ("cbfe", {})]
Cases = list[tuple[str, dict[str, Any]]]
Done = list[tuple[int, str, str]]  # of each process: exit code, standard output and error


def started(size: int, *command: str, **environment: str) -> Done:
    """What as many processes gave, started as `torchrun` does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    known = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    processes = [
        subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, **known, "RANK": str(rank), "LOCAL_RANK": str(rank), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    try:
        told = [process.communicate(timeout=LONGEST) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, *said) for p, said in zip(processes, told, strict=True)]


@pytest.fixture
def vit(tmp_path: Path) -> str:
    (tmp_path / "vit.py").write_text(VIT)
    return f"{tmp_path / 'vit.py'}:build"


@pytest.fixture
def together(tasks: Path, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """All that comes of one run after the other, of so many processes."""

    def run(
        size: int, backbone: str, cache: str, cases: Cases = CASES, how: str = "as usual"
    ) -> list[dict[str, Any]]:
        options = [
            {
                "backbone": backbone,
                "task": str(tasks / f"{protocol}.toml"),
                "params": params,
                "results": str(tmp_path / f"{size} {cache}"),
                "batch_size": 2,
                "workers": 0,
                "cache": cache,
                "panels": 3,
            }
            for protocol, params in cases
        ]
        own = {"DENSEBENCH_CACHE": str(tmp_path / f"cache of {size} {cache}")}
        done = started(size, "-c", PROGRAM, json.dumps(options), how, **own)
        assert [code for code, *_ in done] == [0] * size, done
        assert not any(out for _, out, _ in done[1:])
        paths = [Path(line) for line in done[0][1].splitlines()]
        records = [load_record(path) for path in paths]
        assert [record.processes for record in records] == [size] * len(cases)
        return [facts(*pair) for pair in zip(records, paths, strict=True)]

    return run


def alone(
    run: Callable[..., Any], backbone: str, cache: str, cases: Cases = CASES
) -> list[dict[str, Any]]:
    return [
        run(
            protocol,
            "reference",
            str(number),
            backbone=backbone,
            params=params,
            batch_size=2,
            cache=cache,
        )
        for number, (protocol, params) in enumerate(cases)
    ]


def test_two_processes(run: Callable[..., Any], together: Callable[..., Any]) -> None:
    assert together(2, "hog_s14", "fp32") == alone(run, "hog_s14", "fp32")


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("kind", ["hog", "vit"])
def test_every_protocol_of_attention(
    size: int,
    kind: str,
    tasks: Path,
    run: Callable[..., Any],
    together: Callable[..., Any],
    vit: str,
) -> None:
    attends = hog(tasks, "cbfe") if kind == "hog" else vit
    ours = alone(run, attends, "fp32", ATTENTIVE)
    assert together(size, attends, "fp32", ATTENTIVE) == ours


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("cache", ["fp32", "off"])
@pytest.mark.parametrize("kind", ["hog", "vit"])
def test_every_protocol(
    size: int,
    cache: str,
    kind: str,
    run: Callable[..., Any],
    together: Callable[..., Any],
    vit: str,
) -> None:
    backbone = "hog_s14" if kind == "hog" else vit
    assert together(size, backbone, cache) == alone(run, backbone, cache)


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("kind", ["hog", "vit"])
def test_a_memory_that_no_process_holds_whole(
    size: int, kind: str, run: Callable[..., Any], together: Callable[..., Any], vit: str
) -> None:
    backbone, cases = ("hog_s14" if kind == "hog" else vit), [*CASES[:2], ("depth_in_context", {})]
    wanted = alone(run, backbone, "off", cases)
    assert together(size, backbone, "off", cases, "sharded") == wanted


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_each_writes_its_own_blocks(
    size: int, run: Callable[..., Any], together: Callable[..., Any], tmp_path: Path
) -> None:
    wanted = alone(run, "hog_s14", "fp32")
    assert together(size, "hog_s14", "fp32", how="blocks") == wanted
    assert not list(tmp_path.rglob("blocks-*.jsonl"))


def command(task: Path, results: Path, *more: str, backbone: str = "hog_s14") -> list[str]:
    options = ["--backbone", backbone, "--task", str(task), "--results", str(results)]
    return ["-m", "densebench", "run", *options, "--batch-size", "2", *more]


@pytest.fixture
def spoilt(tasks: Path, tmp_path: Path) -> Path:
    """The in-context card, on pictures whose third, which the second process reads, is bad."""
    folder = tmp_path / "spoilt"
    shutil.copytree(tasks, folder)
    (folder / "images" / "picture02.png").write_bytes(b"no picture")
    return folder / "in_context.toml"


def errors(done: Done) -> list[str]:
    return [line for _, _, err in done for line in err.splitlines() if "rror" in line]


def test_what_one_process_cannot_read_ends_all_in_one_line(spoilt: Path, tmp_path: Path) -> None:
    done = started(2, *command(spoilt, tmp_path / "results", "--cache", "off"))
    assert [code for code, *_ in done] == [2, 2]
    (line,) = errors(done)
    assert line.startswith("error: ")
    assert "picture02.png" in line
    assert "--skip-bad" in line
    assert line in done[0][2]
    assert not any("Traceback" in err for *_, err in done)
    assert not list((tmp_path / "results").rglob("*.json"))


@pytest.mark.slow
def test_torchrun_and_images_that_are_left_out(spoilt: Path, tmp_path: Path) -> None:
    many = [str(Path(sys.executable).with_name("torchrun")), "--standalone", "--nproc-per-node"]
    found = {}
    for size in ("1", "2", "3"):
        wanted = command(spoilt, tmp_path / size, "--skip-bad", "--json")
        done = subprocess.run(
            [*many, size, *wanted],
            env={**os.environ, "DENSEBENCH_CACHE": str(tmp_path / f"cache {size}")},
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST,
        )
        assert done.returncode == 0, done.stderr
        record = json.loads(done.stdout)
        assert list(record["dataset"]["skipped"]) == ["picture02"]
        found[size] = record["run_id"], record["scores"], record["companions"]
    assert found["2"] == found["3"] == found["1"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "ends_at"),  # batches of the second process: 3 are the check of repeatability
    [
        ("in_context", "4"),
        ("in_context", "8"),
        ("linear", "4"),
        ("linear", "8"),
        ("overclustering", "4"),
        ("overclustering", "5"),  # its last
    ],
)
def test_a_killed_process(
    protocol: str, ends_at: str, tasks: Path, tmp_path: Path, run: Callable[..., Any], vit: str
) -> None:
    wanted = command(tasks / f"{protocol}.toml", tmp_path / "results", backbone=vit)
    cache = str(tmp_path / "cache")
    done = started(2, *wanted, ENDS_AT=ends_at, DENSEBENCH_CACHE=cache)
    assert [code for code, *_ in done] == [2, -signal.SIGKILL]
    assert errors(done)[0].startswith("error: another process of this run has ended")
    again = started(2, *wanted, "--json", DENSEBENCH_CACHE=cache)
    assert [code for code, *_ in again] == [0, 0], again
    (path,) = (tmp_path / "results").rglob("*-seed0-????????????.json")
    assert facts(load_record(path), path) == run(
        protocol, "reference", "alone", backbone=vit, batch_size=2
    )


@pytest.mark.slow
def test_done_before(tasks: Path, tmp_path: Path) -> None:
    wanted = command(tasks / "in_context.toml", tmp_path / "results", "--json")
    first, second = (started(2, *wanted) for _ in range(2))
    assert [code for code, *_ in second] == [0, 0]
    assert "already done" in second[0][2]
    assert second[0][1] == first[0][1]
    assert second[1][1] == second[1][2] == ""
