from collections.abc import Callable
from pathlib import Path

import pytest

from densebench import cards
from densebench.cards.suites import PARTS, suite_members
from densebench.cli.shared import names
from densebench.host.errors import DensebenchError
from densebench.report.board.published import load_published

pytestmark = pytest.mark.usefixtures("own_places")

SHIPPED = sorted(path.stem for path in (cards.own_folder() / "tasks/suites").glob("*.toml"))
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_suite(name: str, tasks: list[str], backbones: list[str], extra: str = "") -> Path:
        file = tmp_path / f"{name}.toml"
        lines = [
            f'name = "{name}"',
            'source = "me"',
            f"tasks = {tasks}",
            f"backbones = {backbones}",
        ]
        file.write_text("\n".join([*lines, extra, ""]).replace("'", '"'))
        return file

    return write_suite


def error_of(function: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(DensebenchError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestShipped:
    @pytest.mark.parametrize("name", SHIPPED)
    def test_every_task_and_backbone_exists_and_is_named_once(self, name: str) -> None:
        for part in PARTS:
            members = suite_members(name, part)
            assert members
            assert set(members) <= cards.card_names(part).keys()
            assert len(members) == len(set(members))

    @pytest.mark.parametrize("name", ["neco-voc", "hbird-voc"])
    def test_every_cell_of_a_published_table_has_its_number(self, name: str) -> None:
        card = cards.find_suite(name).card
        numbers = [n for n in load_published() if n.source.startswith(card.source)]
        cells = {
            (task, backbone)
            for task in suite_members(name, "tasks")
            for backbone in suite_members(name, "backbones")
        }
        assert {(number.task, number.backbone) for number in numbers} == cells

    def test_neco_is_all_of_necos(self) -> None:
        parts = [name for name in SHIPPED if name.startswith("neco-")]
        assert len(parts) == 3
        whole = suite_members("neco", "tasks")
        assert whole and set(whole) == {t for name in parts for t in suite_members(name, "tasks")}

    def test_they_are_no_tasks(self) -> None:
        assert not cards.card_names("suites").keys() & cards.card_names("tasks").keys()
        assert list(cards.card_names("suites")) == SHIPPED


class TestNames:
    def test_a_suite_stands_for_its_tasks_or_its_backbones(self) -> None:
        assert names("tasks", "suite:scenes") == suite_members("scenes", "tasks")
        assert names("backbones", "hog_s14,suite:scenes") == ["hog_s14", "rgb_s14"]

    def test_a_suite_in_a_suite(
        self, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        write("inner", ["voc_linear", "scenes_linear"], ["rgb_s14"])
        write("outer", ["scenes_linear", "suite:inner"], ["suite:inner", "hog_s14"])
        monkeypatch.setenv("DENSEBENCH_PATH", str(tmp_path))
        assert names("tasks", "suite:outer") == ["scenes_linear", "voc_linear"]
        assert names("backbones", "suite:outer") == ["rgb_s14", "hog_s14"]
        assert "outer" in cards.card_names("suites")
        assert "outer" not in cards.card_names("tasks")

    def test_paths_are_relative_to_the_card(self, write: Write, tmp_path: Path) -> None:
        file = write("mine", ["data/retrieval.toml"], ["rgb_s14", "own.py:load", "timm:a/b"])
        assert "no card at" in error_of(suite_members, str(file), "tasks")
        (tmp_path / "data").mkdir()
        (tmp_path / "data/retrieval.toml").write_text('name = "x"\n')
        assert suite_members(str(file), "tasks") == [str(tmp_path / "data/retrieval.toml")]
        expected = ["rgb_s14", str(tmp_path / "own.py:load"), "timm:a/b"]
        assert suite_members(f"suite:{file}", "backbones") == expected


class TestBadCards:
    def test_unknown_suite_suggests(self) -> None:
        assert "unknown suite 'neco-vok' (did you mean 'neco-voc'?)" in error_of(
            names, "tasks", "suite:neco-vok"
        )

    def test_a_task_that_does_not_exist(self, write: Write) -> None:
        file = write("mine", ["voc_liner"], ["rgb_s14"])
        message = error_of(suite_members, str(file), "tasks")
        assert message.startswith(f"{file}: unknown task 'voc_liner' (did you mean 'voc_linear'?)")
        assert suite_members(str(file), "backbones") == ["rgb_s14"]

    def test_a_suite_that_holds_itself(
        self, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        write("one", ["suite:two"], ["rgb_s14"])
        write("two", ["suite:one"], ["rgb_s14"])
        monkeypatch.setenv("DENSEBENCH_PATH", str(tmp_path))
        assert "holds itself" in error_of(names, "tasks", "suite:one")

    def test_an_unknown_key(self, write: Write) -> None:
        file = write("mine", ["voc_linear"], ["rgb_s14"], "task = []")
        assert "unknown key 'task' (did you mean 'tasks'?)" in error_of(cards.find_suite, file)

    @pytest.mark.parametrize("part", PARTS)
    def test_nothing_in_it(self, write: Write, part: str) -> None:
        members = {"tasks": ["voc_linear"], "backbones": ["rgb_s14"]} | {part: []}
        assert f"key '{part}'" in error_of(cards.find_suite, write("mine", **members))
