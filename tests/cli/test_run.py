"""`densebench run`."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from densebench.records.store import load_record

pytestmark = pytest.mark.usefixtures("own_places")

COMMAND = (sys.executable, "-m", "densebench.cli")
SCRIPT = Path(sys.executable).with_name("densebench")
Cli = Callable[..., Any]


class TestRunErrors:
    """Each ends with exit code 2 and one line."""

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--set", "input_size=100"], "divisible by the patch size 14; take 98 or 112"),
            (
                ["--set", "n_neigbours=3"],
                "unknown key 'n_neigbours' (did you mean 'n_neighbours'?)",
            ),
            (["--set", "beta=warm"], "key 'beta'"),
            (["--set", "beta=-1"], "key 'beta'"),
            (["--set", "memory_size=0"], "key 'memory_size"),
            (["--set", "n_neighbours=17"], "n_neighbours is 17, but the memory has 16 rows"),
            (["--set", "beta"], "--set wants KEY=VALUE"),
            (["--set", "=3"], "--set wants KEY=VALUE"),
            (["--variant", "cached"], "reference, clean, not 'cached'"),
            (["--limit", "0"], "--limit must be at least 1"),
            (["--subset", "2/3"], "1/8"),
            (["--subset", "1/2"], "own:1/2"),
            (["--subset", "1/²"], "1/8"),
            (["--train-list", "nothing"], "nothing"),
            (["--val-list", "nothing.txt"], "nothing.txt"),
            (["--layers", "1"], "gives no features of single blocks"),
            (["--layers", "5,2"], "in ascending order, such as 8 or 2,5,8,11; not [5, 2]"),
            (["--layers", "all"], "counted from 0"),
            (["--random-weights", "0"], "weights of source 'baseline' are not drawn"),
            (["--name", "mine"], "rgb_s14 has a name of its own"),
            (["--device", "gpu"], "'gpu' is no device"),
            (["--device", "mps"], "mps"),
            (["--device", "meta"], "meta"),
        ],
    )
    def test_options(self, score: Cli, arguments: list[str], told: str) -> None:
        assert told in score(*arguments).error

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
    def test_no_gpu(self, score: Cli) -> None:
        assert "no GPU is available" in score("--device", "cuda").error

    def test_no_such_gpu(self, score: Cli) -> None:
        assert "GPU" in score("--device", "cuda:99").error

    def test_unknown_names_suggest(self, score: Cli) -> None:
        assert "did you mean 'rgb_s14'?" in score(backbone="rbg_s14").error
        assert "did you mean 'voc_incontext'?" in score(task="voc_incontex").error

    def test_a_head_trained_on_no_size(self, score: Cli, tiny_task: Path) -> None:
        linear = tiny_task.with_name("linear.toml")
        assert "mask_size" in score("--set", "mask_size=0", task=linear).error
        assert "batch_size 5" in score("--set", "batch_size=5", task=linear).error

    def test_missing_dataset(self, score: Cli, tmp_path: Path) -> None:
        told = score("--data-root", tmp_path / "nowhere", task="voc_incontext").error
        assert str(tmp_path / "nowhere") in told
        assert "--data-root" in told

    def test_weights(self, score: Cli, tmp_path: Path) -> None:
        file = tmp_path / "weights.pt"
        assert "weights.pt" in score("--weights", file, backbone="dinov2_s14").error
        file.write_bytes(b"no checkpoint")
        assert f"{file}: not a checkpoint" in score("--weights", file, backbone="dinov2_s14").error
        assert "takes no weights" in score("--weights", file).error

    def test_offline_without_weights(self, score: Cli) -> None:
        told = score("--offline", backbone="dinov2_s14").error
        assert "densebench weights fetch dinov2_s14" in told

    def test_unreadable_image(self, score: Cli, spoilt: Path) -> None:
        image = spoilt.parent / "images" / "picture01.png"
        image.write_bytes(b"no image")
        told = score(task=spoilt).error
        assert str(image) in told
        assert "--skip-bad" in told
        done = score("--skip-bad", "--json", task=spoilt)
        dataset = json.loads(done.out)["dataset"]
        assert list(dataset["skipped"]) == ["picture01"]
        assert str(image) in dataset["skipped"]["picture01"]

    def test_mask_id_outside_the_classes(self, score: Cli, spoilt: Path) -> None:
        mask = spoilt.parent / "masks" / "picture05.png"
        Image.fromarray(np.full((42, 56), 3, dtype=np.uint8)).save(mask)
        assert f"{mask}: the mask holds ids that are no class: 3; allowed are 0-2, 255" in (
            score(task=spoilt).error
        )

    def test_image_without_a_mask(self, score: Cli, spoilt: Path) -> None:
        (spoilt.parent / "masks" / "picture02.png").unlink()
        assert "'picture02'" in score(task=spoilt).error

    def test_empty_list(self, score: Cli, spoilt: Path) -> None:
        (spoilt.parent / "val.txt").write_text("\n")
        assert f"{spoilt.parent / 'val.txt'}: the list is empty" in score(task=spoilt).error

    def test_a_plan_that_does_not_fit(self, score: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DENSEBENCH_MEMORY", "1000")
        told = score().error
        assert told.startswith("this run needs ")
        assert "--limit" in told
        monkeypatch.setenv("DENSEBENCH_MEMORY", "much")
        assert "DENSEBENCH_MEMORY must be a number of bytes, not 'much'" in score().error

    def test_a_cache_limit_that_is_no_number(
        self, score: Cli, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DENSEBENCH_CACHE_LIMIT", "inf")
        assert "DENSEBENCH_CACHE_LIMIT" in score().error

    def test_results_that_are_no_folder(self, score: Cli, tiny_task: Path) -> None:
        assert str(tiny_task) in score("--results", tiny_task).error

    def test_an_error_in_a_plugin(self, score: Cli, plugin: Path) -> None:
        told = score(backbone=f"{plugin}:failing").error
        assert "ZeroDivisionError" in told
        assert "did you mean 'make'?" in score(backbone=f"{plugin}:mke").error


class TestRuns:
    def test_a_record_and_a_table(self, score: Cli) -> None:
        done = score()
        assert done.code == 0
        assert "rgb_s14 on tiny_retrieval, reference" in done.out
        path = Path(done.out.splitlines()[-1].removeprefix("record: "))
        assert path.parts[:2] == ("leaderboard", "results")
        assert f"{100 * load_record(path).score.value:.2f}" in done.out
        again = score()
        assert again.out == done.out
        assert again.err.startswith(f"already done: {path}")

    def test_layers(self, run: Cli, tiny_task: Path, blocks: str) -> None:
        command = ["run", "--backbone", blocks, "--task", tiny_task, "--device", "cpu", "--json"]
        record = json.loads(run(*command, "--layers", "0,2").out)
        assert record["backbone"]["layers"] == [0, 2]
        assert record["backbone"]["name"] == "blocks.py:make, layers 0+2"

    def test_random_weights_are_marked_aloud(self, score: Cli, write_timm_card: Path) -> None:
        done = score("--random-weights", 3, "--set", "input_size=32", backbone=write_timm_card)
        assert done.code == 0
        assert "its weights are drawn at random (seed 3)" in done.err
        assert "∗ the weights are drawn at random (seed 3), not learnt" in done.out.replace(
            "\n", " "
        ).replace("  ", " ")
        command = ["--json", "--set", "input_size=32", "--random-weights"]
        record, other = (
            json.loads(score(*command, seed, backbone=write_timm_card).out) for seed in (3, 4)
        )
        backbone = record["backbone"]
        assert (backbone["name"], backbone["random_weights"]) == ("small@random-3", 3)
        assert backbone["weights"] == "drawn at random, seed 3"
        assert record["run_id"] != other["run_id"]
        again = score(*command, 3, backbone=write_timm_card)
        assert json.loads(again.out) == record and "already done" in again.err
        told = score("--random-weights", 3, "--weights", __file__, backbone=write_timm_card).error
        assert "give one of them" in told

    def test_a_plug_in_may_be_given_a_name(self, score: Cli, run: Cli, plugin: Path) -> None:
        target = f"{plugin}:make"
        plain = json.loads(score("--json", backbone=target).out)
        named = json.loads(score("--json", "--name", "mine", backbone=target).out)
        assert (plain["backbone"]["name"], named["backbone"]["name"]) == ("plugin.py:make", "mine")
        assert named["scores"] == plain["scores"] and named["run_id"] == plain["run_id"]
        assert len(list(Path("leaderboard/results/mine").rglob("*.json"))) == 1
        run("leaderboard")
        assert "| mine |" in Path("leaderboard/README.md").read_text()
        for name in ("a/b", "../up", "a\nb", "é", "x" * 101, "-x"):
            assert "use letters, digits" in score(f"--name={name}", backbone=target).error
        assert "choose another" in score("--name", "rgb_s14", backbone=target).error
        told = score("--name", "mine", backbone=f"{target},rgb_s14").error
        assert "is of one backbone's row, and 2 are named" in told

    def test_without_a_place_for_features_it_says_so_and_works(
        self, score: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        wanted = json.loads(score("--json", "--cache", "off").out)["scores"]
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path / "file"))
        done = score("--json", "--overwrite")
        assert json.loads(done.out)["scores"] == wanted
        assert "features cannot be kept" in done.err

    def test_panels_are_kept(self, score: Cli) -> None:
        record = json.loads(score("--json", "--save-panels", 1).out)
        folder = Path("leaderboard/results/rgb_s14/tiny_retrieval")
        (picture,) = folder.glob("*.panels/*.prediction.png")
        assert record["run_id"] in str(picture)
        with Image.open(picture) as labels:
            assert labels.mode == "P"
            assert labels.size == (28, 28)
            assert np.asarray(labels).max() < 3

    def test_more_panels_than_were_kept_are_made(self, score: Cli) -> None:
        for count, done_before in ((1, False), (1, True), (2, False), (1, True), (9, True)):
            done = score("--save-panels", count)
            assert ("already done" in done.err) == done_before
        assert len(list(Path("leaderboard").glob("results/*/*/*.panels/*.prediction.png"))) == 2

    def test_linear_leaves_a_head(self, score: Cli, run: Cli, tiny_task: Path) -> None:
        done = score(task=tiny_task.with_name("linear.toml"))
        path = Path(done.out.splitlines()[-1].removeprefix("record: "))
        head = path.with_suffix(".head.safetensors")
        assert head.is_file()
        assert not list(Path("leaderboard/results/.unfinished").glob("*"))
        image = tiny_task.parent / "images" / "picture00.png"
        shares = run(
            "predict", "--backbone", "rgb_s14", "--head", head, "--image", image, "--out", "l.png"
        )
        assert shares.code == 0
        with Image.open("l.png") as labels:
            assert labels.size == (56, 42)
        told = run(
            "predict", "--backbone", "hog_s14", "--head", head, "--image", image, "--out", "l.png"
        )
        assert "use the same backbone" in told.error


class TestProcesses:
    """What only a process of its own shows."""

    def test_json_is_all_that_a_noisy_plugin_leaves_on_stdout(
        self, process: Cli, plugin: Path, tiny_task: Path
    ) -> None:
        arguments = ["--backbone", f"{plugin}:make", "--task", tiny_task, "--device", "cpu"]
        done = process("run", *arguments, "--json")
        record = json.loads(done.out)
        assert record["backbone"]["name"].endswith("plugin.py:make")
        for noise in ("printed on import", "written on import", "printed", "written"):
            assert noise in done.err.splitlines()
        path = next(Path("leaderboard/results").rglob("*.json"))
        assert load_record(path).model_dump(mode="json") == record

    @pytest.mark.parametrize(("most", "begins"), [(1000, False), (4100, True)])
    def test_no_space_for_the_record(
        self, process: Cli, write_dataset: Callable[..., Path], most: int, begins: bool
    ) -> None:
        def limit() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

        task = write_dataset(Path("data"), 8, 8)
        arguments = ["--backbone", "rgb_s14", "--task", task, "--device", "cpu"]
        done = process("run", *arguments, preexec_fn=limit)
        assert done.error.startswith("no space left")
        assert ("features cannot be kept" in done.err) == begins
        assert ("training images: 8/8" in done.err) == begins
        assert done.out == ""
        left = [path.name for path in Path("leaderboard").rglob("*") if path.is_file()]
        # What is there was written whole, before the record.
        assert not [name for name in left if not name.endswith(".evidence.npz")]
        assert not list(Path("cache/features").glob("*/"))

    def test_a_killed_run_goes_on_to_the_same_bytes(
        self,
        run: Cli,
        plugin: Path,
        tmp_path: Path,
        write_dataset: Callable[..., Path],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        task = write_dataset(tmp_path / "data", n_train=40)
        arguments = ["run", "--backbone", f"{plugin}:make", "--task", task, "--device", "cpu"]
        arguments += ["--batch-size", 4, "--json"]
        command = [*COMMAND, *map(str, arguments)]
        slow = {**os.environ, "PAUSE": "0.1"}
        with subprocess.Popen(
            command, env=slow, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as killed:
            wait_for(lambda: Path("batches.txt").exists() and lines("batches.txt") >= 9)
            wait_for(lambda: any(map(is_begun, (tmp_path / "cache").rglob("meta.json"))))
            killed.send_signal(signal.SIGKILL)
        assert killed.returncode == -signal.SIGKILL
        assert not list(tmp_path.rglob("leaderboard/**/*.json"))

        Path("batches.txt").unlink()
        record = json.loads(run(*arguments).out)
        images = sum(map(int, Path("batches.txt").read_text().split()))
        checked = 6  # whether the plug-in is repeatable
        assert images in (checked + 40 - 16 + 2, checked + 40 - 32 + 2)  # whole blocks are kept
        went_on = features(tmp_path / "cache")

        monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path / "fresh"))
        unbroken = json.loads(run(*arguments, "--overwrite").out)
        assert features(tmp_path / "fresh") == went_on
        assert unbroken["scores"] == record["scores"]
        assert unbroken["run_id"] == record["run_id"]


def test_torchrun_does_one_run_and_no_matrix(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    many = ("run", "--backbone", "rgb_s14,hog_s14", "--task", "scenes_incontext")
    done = run(*many)
    assert done.code == 2
    assert "torchrun started 4" in done.error
    monkeypatch.setenv("RANK", "1")  # the first process has told it
    assert run(*many).err == ""


def lines(file: str) -> int:
    return len(Path(file).read_text().splitlines())


def is_begun(meta: Path) -> bool:
    """Whether an entry of the cache has a whole block."""
    return json.loads(meta.read_text())["filled"] > 0


def features(cache: Path) -> dict[str, bytes]:
    files = sorted((cache / "features").glob("*/*.npy"))
    return {f"{file.parent.name}/{file.name}": file.read_bytes() for file in files}


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
