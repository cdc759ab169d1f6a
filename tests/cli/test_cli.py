import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from densebench import __version__, cli
from densebench.cards import card_names
from densebench.records.store import load_record

pytestmark = pytest.mark.usefixtures("own_places")

COMMAND = (sys.executable, "-m", "densebench.cli")
SCRIPT = Path(sys.executable).with_name("densebench")

PLUGIN = """
import os, time
import torch
print("printed on import"); os.write(1, b"written on import\\n")

class Noisy(torch.nn.Module):
    patch_size, embed_dim = 14, 3
    def forward(self, images):
        print("printed"); os.write(1, b"written\\n")
        with open("batches.txt", "a") as log:
            log.write(f"{len(images)}\\n")
        time.sleep(float(os.environ.get("PAUSE", 0)))
        return torch.nn.functional.avg_pool2d(images, 14).permute(0, 2, 3, 1)

def make():
    return Noisy()

def failing():
    model = Noisy()
    model.forward = lambda images: 1 / 0
    return model
"""


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that says what is wrong."""
        assert self.code == 2
        assert "Traceback" not in self.err
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        assert self.err.splitlines()[-1] == lines[0]
        return lines[0].removeprefix("error: ")


Cli = Callable[..., Done]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command in this process; as a real one costs seconds for importing torch."""

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["densebench", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    return call


def process(*arguments: object, **options: Any) -> Done:
    """The command as a process of its own."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def score(run: Cli, tiny_task: Path) -> Cli:
    """`densebench run` on the tiny dataset."""

    def call(*arguments: object, backbone: object = "rgb_s14", task: object = tiny_task) -> Done:
        return run("run", "--backbone", backbone, "--task", task, "--device", "cpu", *arguments)

    return call


@pytest.fixture
def spoilt(tmp_path: Path, write_dataset: Callable[..., Path]) -> Path:
    """The card of a dataset of its own, for a test to spoil."""
    return write_dataset(tmp_path / "spoilt")


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    file = tmp_path / "plugin.py"
    file.write_text(PLUGIN)
    return file


class TestSpeed:
    """What needs no torch does not import it, and answers at once."""

    @pytest.mark.parametrize(
        "arguments", [["--help"], ["list"], ["run", "--help"], ["cache", "list"]]
    )
    def test_half_a_second_without_torch(self, arguments: list[str]) -> None:
        script = (
            "import sys, runpy\n"
            "try:\n    runpy.run_module('densebench.cli', run_name='__main__')\n"
            "except SystemExit as end:\n    code = end.code\n"
            "print(code, 'torch' in sys.modules, file=sys.stderr)\n"
        )
        seconds = []
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run(
                [sys.executable, "-c", script, *arguments],
                capture_output=True,
                text=True,
                check=True,
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            assert done.stderr.splitlines()[-1] in ("None False", "0 False")
            assert done.stdout
            user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
            seconds.append(user + system)
            if seconds[-1] < 0.5:
                return
        pytest.fail(f"took {seconds} s of processor time")


class TestTheCommandItself:
    @pytest.mark.parametrize("arguments", [[], ["--help"], ["weights"], ["cache", "--help"]])
    def test_help(self, run: Cli, arguments: list[str]) -> None:
        done = run(*arguments)
        assert "Usage: " in done.out + done.err
        assert "Commands:" in done.out + done.err
        assert "error: " not in done.err

    def test_version(self, run: Cli) -> None:
        assert run("--version") == Done(0, f"{__version__}\n", "")

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["nothing"], "nothing"),
            (["run", "--backbone", "rgb_s14"], "--task"),
            (["run", "--backbone", "a", "--task", "b", "--varant", "c"], "--variant"),
            (["run", "--backbone", "a", "--task", "b", "--batch-size", "0"], "--batch-size"),
            (["run", "--backbone", "a", "--task", "b", "--seed", "x"], "--seed"),
            (
                ["run", "--backbone", "a", "--task", "b", "--precision", "fp8"],
                "fp32, tf32, bf16, fp16",
            ),
            (["run", "--backbone", "a", "--task", "b", "--cache", "on"], "fp32, fp16, off"),
            (["list", "backbone"], "did you mean 'backbones'?"),
        ],
    )
    def test_usage_errors(self, run: Cli, arguments: list[str], told: str) -> None:
        assert told in run(*arguments).error

    def test_torchrun_does_one_run_and_no_matrix(
        self, run: Cli, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WORLD_SIZE", "4")
        many = ("run", "--backbone", "rgb_s14,hog_s14", "--task", "scenes_incontext")
        done = run(*many)
        assert done.code == 2
        assert "torchrun started 4" in done.error
        monkeypatch.setenv("RANK", "1")  # the first process has told it
        assert run(*many).err == ""

    def test_list_names_every_card(self, run: Cli) -> None:
        shown = run("list").out
        listed = [line.split()[0] for line in shown.splitlines() if line.startswith("  ")]
        kinds = ("backbones", "tasks", "suites", "recipes")
        assert listed == [name for kind in kinds for name in card_names(kind)]
        for kind in kinds:
            assert run("list", kind).out.splitlines()[0] == kind

    def test_list_into_a_pipe_that_is_closed(self) -> None:
        done = subprocess.run(
            f"{' '.join(COMMAND)} list | head -n 1",
            shell=True,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.stdout, done.stderr) == ("backbones\n", "")

    def test_show(self, run: Cli, tiny_task: Path) -> None:
        for name in ("rgb_s14", "voc_linear", "neco_dinov2", tiny_task):
            head, _, body = run("show", name).out.partition("\n")
            assert Path(head.removeprefix("# ")).is_file()
            assert json.loads(body)["name"] == (name if isinstance(name, str) else "tiny_retrieval")

    @pytest.mark.parametrize(
        ("name", "near"),
        [("rgb_s15", "rgb_s14"), ("voc_incontex", "voc_incontext"), ("nec_dino", "neco_dino")],
    )
    def test_show_suggests_from_every_kind(self, run: Cli, name: str, near: str) -> None:
        assert f"did you mean '{near}'?" in run("show", name).error

    def test_an_interruption_says_that_it_goes_on(
        self, run: Cli, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(*_: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("densebench.cards.card_names", interrupt)
        done = run("list")
        assert done.code == 130
        assert done.err.splitlines() == ["interrupted; run the same command again to go on"]


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

    def test_partial_runs_are_told_and_hidden(self, run: Cli, score: Cli) -> None:
        assert "(partial run)" in score("--limit", 1).out
        assert run("leaderboard").out == "0 tables in leaderboard/README.md\n"
        assert run("leaderboard", "--partial").out == "1 table in leaderboard/README.md\n"

    def test_without_a_place_for_features_it_says_so_and_works(
        self, score: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        wanted = json.loads(score("--json", "--cache", "off").out)["scores"]
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path / "file"))
        done = score("--json", "--overwrite")
        assert json.loads(done.out)["scores"] == wanted
        assert "features cannot be kept" in done.err

    def test_features_are_kept_listed_and_cleared(self, run: Cli, score: Cli) -> None:
        score()
        lines = run("cache", "list").out.splitlines()
        assert "2/2 images  Squash 28  just now" in lines[0]
        assert "4/4 images  Squash 28  just now" in lines[1]
        assert lines[2].startswith("2 entries, 0.01 MB of 50.00 GB in ")
        key = lines[0].split()[0]
        assert run("cache", "clear", key).out.startswith("freed 0.00 MB")
        assert len(run("cache", "list").out.splitlines()) == 2
        run("cache", "clear")
        assert run("cache", "list").out.startswith("0 entries, 0.00 MB")

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


class TestExtract:
    def extract(self, run: Cli, image: Path, out: Path, size: int = 28) -> Done:
        place = ["--image", image, "--out", out, "--size", size]
        return run("extract", "--backbone", "rgb_s14", "--device", "cpu", *place)

    def test_a_folder_and_a_file_agree(self, run: Cli, tiny_task: Path, tmp_path: Path) -> None:
        images = tiny_task.parent / "images"
        done = self.extract(run, images, tmp_path / "new" / "all.npz")
        assert done.out == f"{tmp_path}/new/all.npz: patches 6x2x2x6\n"
        self.extract(run, images / "picture03.png", tmp_path / "one.npz")
        with np.load(tmp_path / "new" / "all.npz") as every, np.load("one.npz") as one:
            assert every["patches"].shape == (6, 2, 2, 6)
            assert every["patches"].dtype == one["patches"].dtype == np.float32
            assert every["names"].tolist() == [f"picture{i:02d}.png" for i in range(6)]
            assert one["names"].tolist() == ["picture03.png"]
            np.testing.assert_array_equal(every["patches"][3:4], one["patches"])

    def test_values_are_those_of_the_pixels(self, run: Cli, tmp_path: Path) -> None:
        colour = (51, 102, 204)
        Image.new("RGB", (28, 28), colour).save(tmp_path / "flat.png")
        self.extract(run, tmp_path / "flat.png", tmp_path / "x.npz")
        with np.load("x.npz") as arrays:
            wanted = [*(value / 255 - 0.45 for value in colour), *[-0.1] * 3]
            np.testing.assert_allclose(arrays["patches"][0], np.full((2, 2, 6), wanted), atol=1e-5)

    def test_errors(self, run: Cli, tiny_task: Path, tmp_path: Path) -> None:
        images, out = tiny_task.parent / "images", tmp_path / "x.npz"
        assert "28" in self.extract(run, images, out, size=30).error
        assert "no image there" in self.extract(run, tmp_path / "nowhere", out).error
        (tmp_path / "empty").mkdir()
        assert "no image there" in self.extract(run, tmp_path / "empty", out).error
        assert "not a readable image" in self.extract(run, tiny_task, out).error
        assert str(tmp_path) in self.extract(run, images, tmp_path / "empty").error
        assert not out.exists()
        assert not list(tmp_path.glob(".*.part"))


class TestProcesses:
    """What only a process of its own shows."""

    def test_json_is_all_that_a_noisy_plugin_leaves_on_stdout(
        self, plugin: Path, tiny_task: Path
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
        self, write_dataset: Callable[..., Path], most: int, begins: bool
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

    def test_an_error_of_a_real_process(self) -> None:
        done = process("show", "rbg_s14")
        assert done.out == ""
        assert done.err.splitlines() == [f"error: {done.error}"]
        assert "did you mean 'rgb_s14'?" in done.error

    @pytest.mark.skipif(not SCRIPT.exists(), reason="densebench is not installed here")
    def test_the_script_is_the_module(self) -> None:
        done = subprocess.run([SCRIPT, "list"], capture_output=True, text=True, check=True)
        assert done.stdout == process("list").out


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
