import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import densebench
from densebench import cards
from densebench.cards import BackboneCard, DatasetCard, SuiteCard, TaskCard, WeightsSource
from densebench.host.errors import DensebenchError
from densebench.posttrain.recipe import Recipe
from densebench.protocols import load_protocol, protocol_names, task_params
from densebench.protocols.base import Protocol, ProtocolParams
from densebench.report.board.published import PublishedNumber

pytestmark = pytest.mark.usefixtures("own_places")

BACKBONE: dict[str, Any] = {
    "name": "mine",
    "source": "baseline",
    "id": "rgb",
    "patch_size": 14,
    "embed_dim": 6,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.2, 0.2, 0.2],
    "position_embedding": "none",
    "license": "none",
    "training_data": "none",
}
TASK: dict[str, Any] = {
    "name": "mine",
    "protocol": "in_context",
    "dataset": {"kind": "voc"},
    "params": {"beta": 0.1},
}
Write = Callable[..., Path]


def toml(values: dict[str, Any]) -> str:
    """TOML of plain values and one level of tables, the tables last."""
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    plain = {key: value for key, value in values.items() if key not in tables}
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    return "\n".join([*lines, *(f"[{key}]\n{toml(table)}" for key, table in tables.items()), ""])


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_card(path: str, values: dict[str, Any], **changes: Any) -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = {k: v for k, v in {**values, **changes}.items() if v is not None}
        file.write_text(toml(kept), encoding="utf-8")
        return file

    return write_card


def error_of(function: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(DensebenchError) as caught:
        function(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestBadBackboneCards:
    def test_unknown_key_names_file_key_the_nearest_and_the_allowed(self, write: Write) -> None:
        file = write("mine.toml", BACKBONE, patchsize=14)
        message = error_of(cards.find_backbone, file)
        assert message.startswith(f"{file}: unknown key 'patchsize' (did you mean 'patch_size'?)")
        assert all(key in message for key in BackboneCard.model_fields)

    def test_a_misspelt_required_key_is_called_unknown_not_missing(self, write: Write) -> None:
        file = write("mine.toml", BACKBONE, patch_size=None, pach_size=14)
        assert "unknown key 'pach_size' (did you mean 'patch_size'?)" in error_of(
            cards.find_backbone, file
        )

    def test_unknown_key_of_a_table_names_the_table(self, write: Write) -> None:
        weights = {"url": "https://example.org/x.pth", "sha": "0"}
        message = error_of(cards.find_backbone, write("mine.toml", BACKBONE, weights=weights))
        assert "unknown key 'weights.sha'" in message
        assert "sha256" in message
        assert "patch_size" not in message

    @pytest.mark.parametrize("key", sorted(BACKBONE))
    def test_missing_key(self, write: Write, key: str) -> None:
        file = write("mine.toml", BACKBONE, **{key: None})
        assert error_of(cards.find_backbone, file) == f"{file}: missing key '{key}'"

    @pytest.mark.parametrize(
        ("key", "value", "told"),
        [
            (
                "source",
                "tim",
                "(did you mean 'timm'?)",
            ),
            ("position_embedding", "bicubic", "'dinov2_reg'"),
            ("patch_size", 0, "greater than 0"),
            ("patch_size", "large", "integer"),
            ("patch_size", True, "another kind of value"),
            ("description", False, "another kind of value"),
            ("final_norm", 3, "boolean"),
            ("embed_dim", -1, "greater than 0"),
            ("prefix_tokens", -1, "greater than or equal to 0"),
            ("mean", [0.5, 0.5, "x"], "number"),
            ("name", "no/slash", "pattern"),
            ("name", "", "pattern"),
            ("drop_keys", "mask_token", "tuple"),
        ],
    )
    def test_bad_value_names_file_key_and_value(
        self, write: Write, key: str, value: Any, told: str
    ) -> None:
        file = write("mine.toml", BACKBONE, **{key: value})
        message = error_of(cards.find_backbone, file)
        assert message.startswith(f"{file}: key '{key}")
        assert told in message
        given = value[-1] if key == "mean" else value
        assert message.endswith(f"not {given!r}")

    @pytest.mark.parametrize(
        ("weights", "told"),
        [
            ({}, "give one of repo with file, url, or path"),
            ({"repo": "a/b"}, "file"),
            ({"repo": "a/b", "file": "c", "url": "https://d"}, "give one of"),
            ({"path": "a.pth", "url": "https://d"}, "give one of"),
            ({"path": "/a.pth"}, "relative to the card's folder"),
            ({"path": ""}, "relative to the card's folder"),
            ({"url": "https://d", "sha256": "abc"}, "sha256"),
        ],
    )
    def test_weights_come_from_one_place(
        self, write: Write, weights: dict[str, str], told: str
    ) -> None:
        message = error_of(cards.find_backbone, write("mine.toml", BACKBONE, weights=weights))
        assert "key 'weights" in message
        assert told in message

    def test_no_toml(self, tmp_path: Path) -> None:
        file = tmp_path / "mine.toml"
        file.write_text("name = ")
        assert error_of(cards.find_backbone, file).startswith(f"{file}: not valid TOML")
        file.write_bytes(b"name = '\xff'")
        assert error_of(cards.find_backbone, file).startswith(f"{file}: not valid TOML")

    def test_no_file(self, tmp_path: Path) -> None:
        file = tmp_path / "mine.toml"
        assert error_of(cards.find_backbone, file) == f"no card at {file}"


class TestBadTaskCards:
    def test_unknown_key_of_the_dataset(self, write: Write) -> None:
        file = write("mine.toml", TASK, dataset={"kind": "voc", "rot": "."})
        message = error_of(cards.find_task, file)
        assert message.startswith(f"{file}: unknown key 'dataset.rot' (did you mean 'root'?)")

    def test_a_folder_needs_all_that_describes_it(self, write: Write) -> None:
        file = write("mine.toml", TASK, dataset={"kind": "folder", "root": ".", "images": "i"})
        message = error_of(cards.find_task, file)
        assert "masks, train, val, classes" in message

    @pytest.mark.parametrize("classes", [[], ["a", "a"]])
    def test_classes_are_distinct(self, write: Write, classes: list[str]) -> None:
        file = write("mine.toml", TASK, dataset={"kind": "voc", "classes": classes})
        assert "distinct" in error_of(cards.find_task, file)

    @pytest.mark.parametrize("value", [-1, 256])
    def test_the_void_label_is_a_byte(self, write: Write, value: int) -> None:
        file = write("mine.toml", TASK, dataset={"kind": "voc", "ignore_index": value})
        assert "key 'dataset.ignore_index'" in error_of(cards.find_task, file)

    def test_params_are_checked_against_the_protocol(self, write: Write) -> None:
        file = write("mine.toml", TASK, params={"betta": 1})
        found = cards.find_task(file)
        card, path = found.card, found.file
        message = error_of(task_params, card, str(path))
        assert message.startswith(f"{file} [params]: unknown key 'betta' (did you mean 'beta'?)")
        assert "n_neighbours" in message

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("beta", 0),
            ("beta", float("nan")),
            ("beta", True),
            ("n_neighbours", 0),
            ("n_neighbours", True),
            ("n_neighbours", 2.5),
            ("search", "fast"),
        ],
    )
    def test_bad_param(self, write: Write, key: str, value: Any) -> None:
        card = cards.find_task(write("mine.toml", TASK)).card
        bad = card.model_copy(update={"params": {key: value}})
        message = error_of(task_params, bad, "here")
        assert message.startswith(f"here [params]: key '{key}'")

    def test_unknown_protocol_suggests(self, write: Write) -> None:
        card = cards.find_task(write("mine.toml", TASK, protocol="incontext")).card
        message = error_of(task_params, card, "here")
        assert "did you mean 'in_context'?" in message
        assert all(name in message for name in protocol_names())


class TestNames:
    def test_unknown_name_suggests_the_nearest(self) -> None:
        assert "did you mean 'rgb_s14'?" in error_of(cards.find_backbone, "rbg_s14")
        assert "did you mean 'voc_incontext'?" in error_of(cards.find_task, "voc_in_context")

    def test_a_name_that_is_near_none_gets_no_suggestion(self) -> None:
        assert "did you mean" not in error_of(cards.find_backbone, "zzzzzzzz")

    def test_pattern(self) -> None:
        assert cards.match_names("backbones", "*_s14") == sorted(
            name for name in cards.card_names("backbones") if name.endswith("_s14")
        )
        assert "'zzz*'" in error_of(cards.match_names, "backbones", "zzz*")

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("3", 3),
            ("0.5", 0.5),
            ("true", True),
            ("[1, 2]", [1, 2]),
            ("'3'", "3"),
            ("unbounded", "unbounded"),
            ("a = b", "a = b"),
            ("", ""),
        ],
    )
    def test_values_are_in_tomls_notation_or_strings(self, text: str, value: Any) -> None:
        parsed = cards.parse_value(text)
        assert parsed == value
        assert type(parsed) is type(value)


class TestSearchPath:
    def test_a_folder_of_the_user_goes_before_ours(
        self, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write("first/backbones/x.toml", BACKBONE, name="rgb_s14", description="first")
        write("second/y.toml", BACKBONE, name="rgb_s14", description="second")
        write("second/z.toml", BACKBONE, name="other")
        folders = [str(tmp_path / "first"), str(tmp_path / "second")]
        monkeypatch.setenv("DENSEBENCH_PATH", os.pathsep.join(folders))
        assert cards.find_backbone("rgb_s14").card.description == "first"
        assert cards.find_backbone("other").card.name == "other"
        assert cards.find_backbone("hog_s14").card.id == "hog"
        monkeypatch.setenv("DENSEBENCH_PATH", os.pathsep.join(reversed(folders)))
        assert cards.find_backbone("rgb_s14").card.description == "second"

    def test_a_path_goes_before_all(
        self, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write("cards/x.toml", BACKBONE, name="mine", description="found by name")
        direct = write("elsewhere.toml", BACKBONE, name="mine", description="found by path")
        monkeypatch.setenv("DENSEBENCH_PATH", str(tmp_path / "cards"))
        assert cards.find_backbone("mine").card.description == "found by name"
        assert cards.find_backbone(direct).card.description == "found by path"
        assert cards.find_backbone("./elsewhere.toml").card.description == "found by path"

    def test_flat_cards_are_told_apart_even_with_a_key_missing(
        self, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write("cards/a.toml", BACKBONE, name="a", source=None)
        write("cards/b.toml", TASK, name="b", protocol=None)
        (tmp_path / "cards" / "pyproject.toml").write_text("[project]\nname = 'c'\n")
        monkeypatch.setenv("DENSEBENCH_PATH", str(tmp_path / "cards"))
        assert "missing key 'source'" in error_of(cards.find_backbone, "a")
        assert "missing key 'protocol'" in error_of(cards.find_task, "b")
        assert "c" not in cards.card_names("backbones")
        assert "c" not in cards.card_names("tasks")

    def test_one_name_twice_in_one_place_is_refused(
        self, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = write("cards/backbones/a.toml", BACKBONE, name="twin")
        second = write("cards/b.toml", BACKBONE, name="twin")
        monkeypatch.setenv("DENSEBENCH_PATH", str(tmp_path / "cards"))
        message = error_of(cards.find_backbone, "twin")
        assert message == f"{second}: name 'twin' is already taken by {first}"

    def test_a_folder_that_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DENSEBENCH_PATH", "/nowhere/at/all")
        assert "DENSEBENCH_PATH names /nowhere/at/all" in error_of(cards.card_names, "tasks")


class TestEntryPoints:
    """Cards of an installed distribution, made of a package and its metadata."""

    SCRIPT = (
        "import sys; from densebench import cards\n"
        "card = cards.find_backbone('rgb_s14').card; print(card.description)\n"
        "backbone, task = cards.find_backbone('packaged'), cards.find_task('packaged_task')\n"
        "print(backbone.card.name, task.card.name)\n"
        "print([name for name in ('theirs', 'torch') if name in sys.modules])\n"
    )

    def run(self, site: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(site), str(Path(densebench.__file__).parents[1])])
        return subprocess.run(
            [sys.executable, "-c", self.SCRIPT],
            env={**os.environ, "PYTHONPATH": path, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def install(self, site: Path, target: str) -> None:
        info = site / "theirs-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[densebench.cards]\ntheirs = {target}\n")

    @pytest.mark.parametrize("init", ["raise RuntimeError('not to be imported')", None])
    def test_after_the_user_and_before_ours(
        self, write: Write, tmp_path: Path, init: str | None
    ) -> None:
        site = tmp_path / "site"
        self.install(site, "theirs")
        write("site/theirs/backbones/p.toml", BACKBONE, name="packaged")
        write("site/theirs/r.toml", BACKBONE, name="rgb_s14", description="of the package")
        write("site/theirs/tasks/t.toml", TASK, name="packaged_task")
        if init is not None:
            (site / "theirs" / "__init__.py").write_text(init)
        done = self.run(site)
        assert done.stdout.splitlines() == ["of the package", "packaged packaged_task", "[]"]
        write("own/r.toml", BACKBONE, name="rgb_s14", description="of the user")
        done = self.run(site, DENSEBENCH_PATH=str(tmp_path / "own"))
        assert done.stdout.splitlines()[0] == "of the user"

    def test_a_package_that_is_gone(self, tmp_path: Path) -> None:
        self.install(tmp_path / "site", "gone_away")
        done = self.run(tmp_path / "site")
        first, *_, last = done.stderr.splitlines()
        told = "warning: entry point 'theirs' of densebench.cards: there is no package gone_away"
        assert first.startswith(told)
        assert done.stdout.startswith(cards.find_backbone("rgb_s14").card.description)
        assert done.returncode == 1
        assert "unknown backbone 'packaged'" in last


def sources() -> list[ast.AST]:
    package = Path(densebench.__file__).parent
    return [ast.parse(file.read_text(encoding="utf-8")) for file in sorted(package.rglob("*.py"))]


def names_read(trees: list[ast.AST]) -> set[str]:
    """Attributes that are read, and strings outside docstrings (for getattr)."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    attributes = {n.attr for n in nodes if isinstance(n, ast.Attribute)}
    in_tuples = [e for n in nodes if isinstance(n, ast.Tuple | ast.Dict) for e in ast.walk(n)]
    strings = {
        e.value for e in in_tuples if isinstance(e, ast.Constant) and isinstance(e.value, str)
    }
    return attributes | strings


# What describes a card to its reader alone: `densebench show` prints it, and records keep it.
DESCRIPTIVE = {"license", "training_data", "adapted_from", "citation"}


def is_table(annotation: Any) -> bool:
    return is_dataclass(annotation) or (
        isinstance(annotation, type) and issubclass(annotation, BaseModel)
    )


def keys_of(model: Any) -> list[str]:
    return [f.name for f in fields(model)] if is_dataclass(model) else list(model.model_fields)


class TestEveryKeyIsRead:
    MODELS: tuple[type, ...] = (
        WeightsSource,
        BackboneCard,
        DatasetCard,
        TaskCard,
        SuiteCard,
        PublishedNumber,
        Recipe,
        *(field.annotation for field in Recipe.model_fields.values() if is_table(field.annotation)),
        *(load_protocol(name).Params for name in protocol_names()),
    )

    def test_somewhere_in_the_package(self) -> None:
        read = names_read(sources())
        unread = {
            f"{model.__name__}.{key}"
            for model in self.MODELS
            for key in keys_of(model)
            if key not in read | DESCRIPTIVE
        }
        assert not unread

    @pytest.mark.parametrize("name", protocol_names())
    def test_a_protocols_own_parameters_in_its_own_module(self, name: str) -> None:
        """Or in that of a protocol that it is made from."""
        protocol = load_protocol(name)
        made_from = [k for k in protocol.__mro__ if issubclass(k, Protocol) and k is not Protocol]
        files = {str(sys.modules[kind.__module__].__file__) for kind in made_from}
        read = names_read([ast.parse(Path(f).read_text(encoding="utf-8")) for f in sorted(files)])
        own = protocol.Params.model_fields.keys() - ProtocolParams.model_fields.keys()
        assert own <= read

    def test_the_descriptive_ones_are_shown(self, capsys: pytest.CaptureFixture[str]) -> None:
        from densebench.cli.cards import show

        show("neco_dinov2_s14")
        shown = json.loads(capsys.readouterr().out.partition("\n")[2])
        assert shown.keys() >= DESCRIPTIVE


def shipped(kind: str) -> list[str]:
    """The cards of the package, without those that the user of this machine has registered."""
    return sorted(path.stem for path in (cards.own_folder() / kind).glob("*.toml"))


class TestShippedCards:
    @pytest.mark.parametrize("name", shipped("backbones"))
    def test_backbone_is_valid_and_named_as_its_file(self, name: str) -> None:
        card = cards.find_backbone(name).card
        assert cards.card_path("backbones", name).stem == card.name == name
        assert card.description
        assert all(0 < value < 1 for value in (*card.mean, *card.std))
        assert (card.weights is None) == (card.source == "baseline")

    @pytest.mark.parametrize("name", shipped("tasks"))
    def test_task_is_valid_and_its_params_fit_its_protocol(self, name: str) -> None:
        found = cards.find_task(name)
        card, path = found.card, found.file
        assert path.stem == card.name == name
        assert card.description
        params = task_params(card, str(path)).model_dump(mode="json")
        assert {**params, **card.params} == params
        assert "reference" in load_protocol(card.protocol).variants
