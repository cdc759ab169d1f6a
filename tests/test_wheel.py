"""The wheel alone, built from the sdist alone, away from the repository; both as an index wants."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from email import message_from_string
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.usefixtures("own_places"),
    pytest.mark.skipif(
        find_spec("build") is None or find_spec("hatchling") is None,
        reason="building a wheel needs the packages build and hatchling",
    ),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel that is built from it; the repository itself is not touched."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run([*command, str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def unpacked(built: Path) -> Path:
    """The wheel's content."""
    folder = built
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(site: Path, *arguments: str) -> str:
    """Run Python with the wheel's package before any that is installed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("*.toml"))


def test_it_holds_every_card_and_nothing_of_the_tests(unpacked: Path) -> None:
    packed = unpacked / "densebench" / "_cards"
    for kind in ("backbones", "tasks", "tasks/suites", "tasks/ladders", "recipes"):
        assert names(packed / kind) == names(ROOT / kind)
        assert names(packed / kind)
    assert (packed / "published.toml").is_file()
    for table in ("classes.toml", "published_subsets.tsv"):
        assert (unpacked / "densebench" / "datasets" / table).is_file()
    page = Path("densebench", "report", "page")
    assert sorted(f.name for f in (unpacked / page).iterdir()) == sorted(
        f.name for f in (ROOT / page).iterdir()
    )
    (metadata,) = unpacked.glob("*.dist-info")
    assert (metadata / "licenses" / "LICENSE").is_file()
    assert {path.name for path in unpacked.iterdir()} == {"densebench", metadata.name}


def test_what_an_index_reads_is_whole(unpacked: Path) -> None:
    (metadata,) = unpacked.glob("*.dist-info")
    told = message_from_string((metadata / "METADATA").read_text(encoding="utf-8"))
    assert told["Name"] == "densebench"
    assert told["Description-Content-Type"] == "text/markdown"
    assert told.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")
    for key in ("Version", "Summary", "License-Expression", "Requires-Python", "Keywords"):
        assert told[key], key
    assert len(told["Summary"]) <= 512 and "\n" not in told["Summary"]
    classifiers = told.get_all("Classifier")
    assert len(classifiers) == len(set(classifiers)) >= 10
    assert "Typing :: Typed" in classifiers
    assert (unpacked / "densebench" / "py.typed").is_file()
    assert told["Version"] in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_the_sdist_is_small_and_holds_no_results(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CONTRIBUTING.md", "CITATION.cff", "pyproject.toml"} <= files
    assert not [name for name in files if name.startswith(("tests/", "leaderboard/results"))]
    assert sdist.stat().st_size < 5e6


def test_it_lists_its_own_cards_and_quotes_its_own_numbers(unpacked: Path) -> None:
    script = (
        "import json, densebench\n"
        "from densebench import cards\n"
        "from densebench.report.board.published import load_published\n"
        "kinds = ('backbones', 'tasks', 'suites', 'ladders')\n"
        "found = [str(path) for kind in kinds for path in cards.card_names(kind).values()]\n"
        "print(json.dumps([densebench.__file__, found, len(load_published())]))\n"
    )
    package, found, n_published = json.loads(run(unpacked, "-c", script))
    assert Path(package).is_relative_to(unpacked)
    assert all(Path(path).is_relative_to(unpacked) for path in found)
    kinds = ("backbones", "tasks", "tasks/suites", "tasks/ladders")
    assert len(found) == sum(len(names(ROOT / kind)) for kind in kinds)
    assert n_published > 20


def test_it_runs_a_task(unpacked: Path, tmp_path: Path, write_dataset: Callable[..., Path]) -> None:
    task = write_dataset(tmp_path / "data")
    place = ["--task", str(task), "--device", "cpu", "--json"]
    told = run(unpacked, "-m", "densebench.cli", "run", "--backbone", "hog_s14", *place)
    record = json.loads(told)
    assert record["backbone"]["name"] == "hog_s14"
    assert 0 < record["scores"][0]["metrics"][0]["value"] <= 1


def test_it_writes_the_page(unpacked: Path, tmp_path: Path) -> None:
    results = ROOT / "leaderboard" / "results"
    page = ["--results", str(results), "--html", str(tmp_path / "page.html")]
    run(unpacked, "-m", "densebench.cli", "leaderboard", *page)
    assert "hog_s14" in (tmp_path / "page.html").read_text(encoding="utf-8")
