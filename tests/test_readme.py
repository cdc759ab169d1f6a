"""What README.md and the pages say of facts is so, and the README stays short."""

import re
from pathlib import Path

import pytest

from densebench.cards.toml import tomllib
from densebench.prepare.sources import official_table
from densebench.protocols import load_protocol, protocol_names
from densebench.records.store import load_records
from densebench.run.sweep.places import KEYS

pytestmark = pytest.mark.usefixtures("own_places")

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_LINES = 150


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def test_a_newcomer_reads_it_to_the_end() -> None:
    assert len(README.splitlines()) <= MOST_LINES


def test_every_page_of_the_readme_is_one_of_the_site() -> None:
    linked = re.findall(r"\]\((docs/[^)#]+\.md)", README)
    assert {"docs/index.md", "docs/start.md", "docs/reading.md", "docs/questions.md"} <= {*linked}


def test_datasets_have_their_names() -> None:
    for name in re.findall(r"^\| `(\w+)` \|", page("data"), re.MULTILINE):
        assert name in official_table().datasets, name


def test_counts_of_images_are_the_releases() -> None:
    found = 0
    for name, row in re.findall(r"^\| `(\w+)` \|(.*)\|$", page("data"), re.MULTILINE):
        source = official_table().datasets[name]
        counts = re.search(r"([\d,]+) / ([\d,]+) *$", row)
        if counts and source.kind:
            told = tuple(int(part.replace(",", "")) for part in counts.groups())
            assert told == (source.n_train, source.n_val), name
            found += 1
    assert found >= 6


def test_positions_and_pixels_are_as_the_page_of_protocols_says() -> None:
    told = re.search(r"of NeCo's own code \((.*?)\)", page("protocols"), re.DOTALL)
    assert told
    of_neco = re.findall(r"`(\w+)`", told[1])
    for name in protocol_names():
        protocol = load_protocol(name)
        published = protocol.resolve(protocol.Params(), "reference")
        rule = "neco" if name in of_neco else "official"
        assert (published.positions, published.normalisation) == (rule, "imagenet")
        clean = protocol.resolve(protocol.Params(), "clean")
        assert (clean.positions, clean.normalisation) == ("card", "card")


def test_every_protocol_is_on_its_page() -> None:
    told = page("protocols").replace("[in-context retrieval]", "in_context")
    told = told.replace("[linear segmentation]", "linear")
    assert [name for name in protocol_names() if name not in told] == []


def test_what_slurm_may_be_asked_for() -> None:
    told = re.search(r"`slurm:` takes (.*?) \(", page("scaling"), re.DOTALL)
    assert told
    assert re.findall(r"[a-z]\w+_\w+|[a-z]{3,}", told[1].replace(" and ", " ")) == sorted(KEYS)


class TestQuestions:
    """What is quoted there is what stands with its source among the published numbers."""

    def test_memory_sizes(self) -> None:
        tasks = ("voc_incontext_1024e2", "voc_incontext_1024e3", "voc_incontext")
        rows = re.findall(
            r"^\| `(\w+)` \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", page("questions"), re.M
        )
        assert len(rows) == 3
        for backbone, *told in rows:
            for task, value in zip(tasks, told, strict=True):
                assert published(task, backbone, "open-hummingbird") == float(value)

    def test_registers(self) -> None:
        told = re.search(r"has ([\d.]+) with registers and ([\d.]+) without", page("questions"))
        assert told
        names = ("neco_dinov2_reg_s14", "neco_dinov2_regxr_s14")
        found = [published("voc_incontext", name, "NeCo README") for name in names]
        assert found == [float(value) for value in told.groups()]

    def test_mask_sizes(self) -> None:
        told = re.search(r"has ([\d.]+) at 100x100 and ([\d.]+) at the original", page("questions"))
        assert told
        ((_, record),) = [
            found
            for found in load_records(
                ROOT / "leaderboard" / "results" / "hog_s14" / "scenes_linear"
            )
            if found[1].protocol.variant == "reference"
        ]
        by_size = {str(score.resolution): 100 * score.main.value for score in record.scores}
        assert [f"{by_size[size]:.2f}" for size in ("100", "original")] == list(told.groups())


def published(task: str, backbone: str, source: str) -> float:
    table = tomllib.loads((ROOT / "leaderboard" / "published.toml").read_text(encoding="utf-8"))
    (value,) = {
        number["value"]
        for number in table["number"]
        if (number["task"], number["backbone"]) == (task, backbone)
        and number["source"].startswith(source)
    }
    return float(value)
