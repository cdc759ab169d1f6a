"""The command line as users meet it: results, and every mistake in one line with exit code 2."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from densebench.cli import main

pytestmark = pytest.mark.usefixtures("own_places")


def _command(*arguments, **how):
    command = [sys.executable, "-m", "densebench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **how)


@pytest.fixture
def call(monkeypatch, capfd):
    """Runs a command in this process; gives its exit code, standard output and error lines."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["densebench", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capfd.readouterr()
        return stopped.value.code or 0, out, err.splitlines()

    return run


def _cpu_seconds(*arguments):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = _command(*arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("arguments", [["--help"], ["list"]])
def test_help_and_list_answer_at_once(arguments):
    assert min(_cpu_seconds(*arguments) for _ in range(3)) < 0.5
    code = (
        "import sys; from densebench.cli import app; app(sys.argv[1:], standalone_mode=False);"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "list"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"
    assert any(line.split()[:1] == ["dinov2_reg_b14"] for line in done.stdout.splitlines())


def test_show_prints_published_values(call):
    code, out, _ = call("show", "voc_incontext")
    assert code == 0
    shown = json.loads(out.split("\n", 1)[1])
    assert shown["params"]["n_neighbours"] == 30
    assert shown["params"]["memory_size"] == 10_240_000
    assert json.loads(call("show", "dino_s16")[1].split("\n", 1)[1])["patch_size"] == 16


NOISY = """
import os, torch
print("imported")

class Noisy(torch.nn.Module):
    patch_size = 14
    def forward(self, images):
        print("forward")
        os.write(1, b"from C\\n")
        return torch.nn.functional.avg_pool2d(images, 14).permute(0, 2, 3, 1)

def build():
    print("built")
    return Noisy()
"""


def test_json_prints_the_record_and_nothing_else(tiny_task, tmp_path):
    (tmp_path / "noisy.py").write_text(NOISY)
    arguments = ["--backbone", f"{tmp_path / 'noisy.py'}:build", "--task", tiny_task]
    done = _command("run", *arguments, "--json", "--results", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["backbone"]["name"] == "noisy.py:build"
    saved = next((tmp_path / "results").rglob("*.json"))
    assert json.loads(saved.read_text()) == record
    assert "from C" in done.stderr


def _broken_copy(tiny_task, tmp_path, name="copy"):
    folder = tmp_path / name
    shutil.copytree(tiny_task.parent, folder)
    return folder


def _mistakes(folder, tiny_task):
    weights = folder / "weights.pth"
    weights.write_text("no checkpoint")
    task = ["--task", tiny_task]
    rgb = ["--backbone", "rgb_s14"]
    return {
        r"unknown backbone 'rgb_s15' \(did you mean 'rgb_s14'\?\)": [
            "--backbone",
            "rgb_s15",
            *task,
        ],
        r"unknown task 'voc_incontex' \(did you mean": [*rgb, "--task", "voc_incontex"],
        r"no voc dataset .*--data-root": [*rgb, "--task", "voc_incontext"],
        r"100 is not divisible by the patch size 14; take 98 or 112": [
            *rgb,
            *task,
            "--set",
            "input_size=100",
        ],
        r"unknown key 'betta' \(did you mean 'beta'\?\)": [*rgb, *task, "--set", "betta=1"],
        r"--set wants KEY=VALUE, not 'beta'": [*rgb, *task, "--set", "beta"],
        r"no GPU is available": [*rgb, *task, "--device", "cuda"],
        r"'gpu' is no device": [*rgb, *task, "--device", "gpu"],
        r"variants reference, clean, not 'cleaner'": [*rgb, *task, "--variant", "cleaner"],
        r"--precision must be one of .*not 'fp8'": [*rgb, *task, "--precision", "fp8"],
        r"takes no weights": [*rgb, *task, "--weights", weights],
        r"weights\.pth": ["--backbone", "dinov2_s14", *task, "--weights", weights],
        r"--limit must be at least 1": [*rgb, *task, "--limit", "0"],
        r"wants a share such as 1/8": [*rgb, *task, "--subset", "half"],
        r"n_neighbours is 5000": [*rgb, *task, "--set", "n_neighbours=5000"],
        r"[Mm]issing option": [*rgb],
        r"[Nn]o such option.*--tusk": [*rgb, "--tusk", "x"],
    }


def test_every_mistake_is_one_line_and_exit_code_2(call, tiny_task, tmp_path, monkeypatch):
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path / "cache"))
    folder = _broken_copy(tiny_task, tmp_path)
    for expected, arguments in _mistakes(folder, tiny_task).items():
        code, out, errors = call("run", *arguments, "--results", tmp_path / "results")
        assert code == 2, arguments
        assert out == ""
        assert errors[-1].startswith("error: "), errors
        assert re.search(expected, errors[-1]), errors
        assert not any("Traceback" in line for line in errors)
        assert sum(line.startswith("error: ") for line in errors) == 1
    assert not list((tmp_path / "results").rglob("*.json"))


def _spoil_image(folder):
    (folder / "images" / "picture01.png").write_bytes(b"no image")


def _spoil_mask(folder):
    Image.fromarray(np.full((42, 56), 7, dtype=np.uint8)).save(folder / "masks" / "picture01.png")


def _drop_mask(folder):
    (folder / "masks" / "picture01.png").unlink()


def _empty_list(folder):
    (folder / "val.txt").write_text("\n\n")


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_spoil_image, r"picture01\.png: not a readable image.*--skip-bad"),
        (_spoil_mask, r"picture01\.png.* 7"),
        (_drop_mask, r"picture01"),
        (_empty_list, r"val\.txt"),
    ],
)
def test_bad_data_is_named(call, tiny_task, tmp_path, spoil, expected):
    folder = _broken_copy(tiny_task, tmp_path)
    spoil(folder)
    arguments = ["--backbone", "rgb_s14", "--task", folder / tiny_task.name]
    code, _, errors = call("run", *arguments, "--results", tmp_path / "results")
    assert code == 2
    assert re.search(expected, errors[-1]), errors


def test_skip_bad_counts_and_records(call, tiny_task, tmp_path):
    folder = _broken_copy(tiny_task, tmp_path)
    _spoil_image(folder)
    arguments = ["--backbone", "rgb_s14", "--task", folder / tiny_task.name, "--json"]
    code, out, _ = call("run", *arguments, "--skip-bad", "--results", tmp_path / "results")
    assert code == 0
    record = json.loads(out)
    assert list(record["dataset"]["skipped"]) == ["picture01"]
    assert record["protocol"]["details"]["memory_rows"] == 3 * 4


def test_partial_runs_are_hidden_unless_asked_for(call, tiny_task, tmp_path):
    results = tmp_path / "board" / "results"
    arguments = ["--backbone", "rgb_s14", "--task", tiny_task, "--results", results]
    call("run", *arguments, "--limit", 2)
    page = results.parent / "README.md"
    assert call("leaderboard", "--results", results)[:2] == (0, f"0 tables in {page}\n")
    assert "rgb_s14" not in page.read_text()
    assert call("leaderboard", "--results", results, "--partial")[1] == f"1 table in {page}\n"
    assert "rgb_s14" in page.read_text()


def test_no_space_left_is_one_line_and_nothing_is_half_written(tiny_task, tmp_path):
    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))

    arguments = ["run", "--backbone", "rgb_s14", "--task", tiny_task, "--cache", "off"]
    results = tmp_path / "results"
    done = _command(*arguments, "--results", results, preexec_fn=small_files)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: no space left")
    assert not [file for file in results.rglob("*") if file.is_file()]


def test_a_pattern_runs_every_pair_and_repeats_nothing(call, tiny_task, tmp_path):
    arguments = ["--backbone", "rgb_*,hog_s14", "--task", tiny_task, "--json"]
    first = json.loads(call("run", *arguments, "--results", tmp_path / "results")[1])
    assert [record["backbone"]["name"] for record in first] == ["rgb_s14", "hog_s14"]
    again = json.loads(call("run", *arguments, "--results", tmp_path / "results")[1])
    assert again == first


def test_extract_writes_patches_and_names(call, tiny_task, tmp_path):
    images = tiny_task.parent / "images"
    out = tmp_path / "deep" / "features.npz"
    for source, n_images in ((images, 6), (images / "picture00.png", 1)):
        code, told, _ = call(
            "extract", "--backbone", "hog_s14", "--image", source, "--size", 42, "--out", out
        )
        assert (code, told) == (0, f"{out}: patches {n_images}x3x3x52\n")
        with np.load(out) as arrays:
            assert arrays["patches"].shape == (n_images, 3, 3, 52)
            assert arrays["patches"].dtype == np.float32
            assert arrays["names"][0] == "picture00.png"
    bad = ["extract", "--backbone", "hog_s14", "--image", images, "--size", 40, "--out", out]
    code, _, errors = call(*bad)
    assert code == 2
    assert "no multiple of the patch size 14; the nearest is 28 or 42" in errors[-1]


def test_the_demo_leaves_a_leaderboard_and_a_picture(call, tmp_path, monkeypatch):
    # The scenes are drawn once for the whole session.
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path.parent.parent / "demo-cache"))
    code, out, _ = call("demo", "--out", tmp_path / "demo")
    assert code == 0
    assert "## scenes_incontext, reference" in out
    page = (tmp_path / "demo" / "README.md").read_text()
    links = re.findall(r"\]\((results/[^)]+)\)", page)
    assert len(links) == 2
    assert all((tmp_path / "demo" / link).is_file() for link in links)
    scores = [float(n) for n in re.findall(r"\[(?:\*\*|<u>)([\d.]+)", page)]
    assert scores[0] > scores[1] + 10
    with Image.open(tmp_path / "demo" / "predictions.png") as picture:
        assert picture.width > 600


def test_interruption_says_how_to_go_on(tiny_task, tmp_path):
    command = [sys.executable, "-m", "densebench", "run", "--backbone", "rgb_s14"]
    command += ["--task", str(tiny_task.with_name("linear.toml")), "--set", "epochs=100000"]
    command += ["--results", str(tmp_path / "results")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("epoch 2/"):
            break
    os.kill(process.pid, signal.SIGINT)
    rest = process.stderr.read().splitlines()
    assert process.wait() == 130
    assert rest[-1] == "interrupted; run the same command again to go on"
    assert not any("Traceback" in line for line in rest)
    assert list(Path(tmp_path / "results").rglob("epoch.pt"))
