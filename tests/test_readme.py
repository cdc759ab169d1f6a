"""README.md is code: its commands parse, its names exist, its examples run."""

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from densebench import cards
from densebench.cards.suites import suite_members
from densebench.cards.toml import tomllib
from densebench.cli import app
from densebench.cli.shared import key_value, names
from densebench.posttrain.recipe import load_recipe
from densebench.prepare.sources import official_table
from densebench.protocols import load_protocol, protocol_names, task_params
from densebench.run.sweep.places import KEYS

pytestmark = pytest.mark.usefixtures("own_places")

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?:\S*/)?densebench$")
# Of other programs than ours.
FOREIGN = {"--nproc-per-node"}
SECONDS = 900


@dataclass(frozen=True)
class Block:
    language: str
    text: str


@dataclass(frozen=True)
class Line:
    """A call of the command; one in running text may leave arguments out."""

    text: str
    arguments: tuple[str, ...]
    complete: bool


def blocks() -> list[Block]:
    return [Block(*found) for found in FENCE.findall(TEXT)]


def lines() -> list[Line]:
    rest = FENCE.sub("", TEXT)
    shown = [line for block in blocks() for line in block.text.splitlines()]
    shown += [line for line in rest.splitlines() if line.startswith("    ")]
    quoted = re.findall(r"`(densebench [^`]+)`", rest)
    return [*_calls(shown, True), *_calls(quoted, False)]


def _calls(texts: list[str], complete: bool) -> Iterator[Line]:
    for text in texts:
        if "densebench" not in text or text.lstrip().startswith(("#", "import", "from")):
            continue
        for part in text.strip().removeprefix("$ ").split("&&"):
            words = shlex.split(part, comments=True)
            start = next((i for i, word in enumerate(words) if COMMAND.match(word)), None)
            if start is not None and (start == 0 or words[start - 1] == "-m"):
                open_ended = "..." in words
                arguments = tuple(word for word in words[start + 1 :] if word != "...")
                yield Line(part.strip(), arguments, complete and not open_ended)


LINES = lines()


def parsed(line: Line) -> tuple[str, dict[str, Any]]:
    """The command of a line and its parameters; the command line's own parser refuses what is bad.

    A placeholder such as N stands for a number, FILE or NAME for themselves.
    """
    command, left, path = typer.main.get_command(app), list(line.arguments), []
    while left and left[0] in getattr(command, "commands", {}):
        path.append(left[0])
        command = command.commands[left.pop(0)]
    assert path, f"no command: {line.text}"
    if "--help" in left:
        return " ".join(path), {}
    numbered = ["1" if word == "N" else word for word in left]
    for word in filter(str.isupper, left):
        Path(word).touch()  # in the test's own folder, for options that want a file
    try:
        return " ".join(path), command.make_context(path[-1], numbered).params
    except Exception as error:
        if line.complete or type(error).__name__ not in ("MissingParameter", "NoArgsIsHelpError"):
            raise AssertionError(f"{line.text}: {getattr(error, 'message', error)}") from error
        return " ".join(path), {}


def introduced(name: str) -> bool:
    """Whether the README itself made the name, or the reader has to."""
    made = re.findall(r"--name (\w+)", TEXT) + re.findall(r'^name = "(\w+)"', TEXT, re.MULTILINE)
    return name in made or name.isupper() or ".py:" in name or name.startswith(("timm:", "open_"))


def check_names(part: Any, given: Any) -> None:
    texts = given if isinstance(given, list | tuple) else [given]
    for text in filter(None, texts):
        for name in filter(None, str(text).split(",")):
            if not introduced(name):
                for found in names(part, name):
                    cards.card_path(part, found)


class TestCommands:
    @pytest.mark.parametrize("line", LINES, ids=lambda line: line.text)
    def test_it_parses_and_its_names_exist(self, line: Line) -> None:
        path, params = parsed(line)
        check_names("backbones", params.get("backbone"))
        check_names("tasks", params.get("task"))
        check_names("tasks", params.get("then"))
        if path == "compare":
            check_names("backbones", [params.get("first"), params.get("second")])
        if path.startswith("weights"):
            check_names("backbones", params.get("name"))
        if path == "show" and params:
            assert any(params["name"] in cards.card_names(kind) for kind in _kinds())
        if path == "reproduce" and params and not introduced(params["suite"]):
            assert suite_members(params["suite"], "tasks")
        if path == "data prepare" and params:
            assert set(params["names"]) <= {*official_table().datasets, "subsets"}

    def test_every_override_is_a_parameter(self) -> None:
        known: set[str] = set()
        for name in protocol_names():
            known |= load_protocol(name).Params.model_fields.keys()
        for span in re.findall(r"`([^`]*--set [^`]*)`", TEXT):
            given = dict(key_value(text) for text in re.findall(r"--set (\S+)", span))
            of_recipes = {key: value for key, value in given.items() if "." in key}
            assert load_recipe("neco_dinov2", of_recipes)
            assert given.keys() - of_recipes.keys() <= known, span

    def test_every_command_of_the_tree_is_told(self) -> None:
        told = {parsed(line)[0].split()[0] for line in LINES}
        assert told >= typer.main.get_command(app).commands.keys()

    def test_every_option_in_the_text_is_one_of_ours(self) -> None:
        known = set(FOREIGN)
        for command in _leaves(typer.main.get_command(app)):
            known |= {name for option in command.params for name in option.opts}
        ours = re.sub(r"^.*\bpip install\b.*$", "", TEXT, flags=re.MULTILINE)
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", ours)) - {"--help"} <= known


def _kinds() -> Any:
    from typing import get_args

    return get_args(cards.CardKind)


def _leaves(command: Any) -> Iterator[Any]:
    for below in getattr(command, "commands", {}).values():
        yield from _leaves(below)
    yield command


class TestText:
    def test_blocks_of_a_language_are_of_it(self) -> None:
        for block in blocks():
            if block.language == "python":
                ast.parse(block.text)
            elif block.language == "toml":
                values = tomllib.loads(block.text)
                model = cards.SuiteCard if "tasks" in values else cards.TaskCard
                card = cards.validate(model, values, "README.md")
                if isinstance(card, cards.TaskCard):
                    task_params(card, "README.md")
            else:
                assert block.language == "", f"nothing checks blocks of {block.language}"

    def test_links_lead_somewhere(self) -> None:
        for target in re.findall(r"\]\(([^)]+)\)", TEXT):
            if not target.startswith(("http://", "https://")):
                assert (ROOT / target.partition("#")[0]).exists(), target

    def test_settings_are_read_somewhere(self) -> None:
        source = "".join(file.read_text() for file in (ROOT / "densebench").rglob("*.py"))
        for name in set(re.findall(r"DENSEBENCH_[A-Z]+", TEXT)):
            assert f'"{name}"' in source or f"{name}=" in source, name

    def test_recipes_suites_and_datasets_have_their_names(self) -> None:
        table = official_table()
        for name in re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE):
            assert name in table.datasets, name
        for name in set(re.findall(r"`(neco_[a-z0-9_]+)`", TEXT)):
            kinds = [kind for kind in _kinds() if name in cards.card_names(kind)]
            assert kinds or introduced(name), name

    def test_positions_and_pixels_are_as_the_table_of_quirks_says(self) -> None:
        told = re.search(r"those of NeCo's own code \((.*?)\)", TEXT, re.DOTALL)
        assert told
        of_neco = re.findall(r"`(\w+)`", told[1])
        for name in protocol_names():
            protocol = load_protocol(name)
            published = protocol.resolve(protocol.Params(), "reference")
            rule = "neco" if name in of_neco else "official"
            assert (published.positions, published.normalisation) == (rule, "imagenet")
            clean = protocol.resolve(protocol.Params(), "clean")
            assert (clean.positions, clean.normalisation) == ("card", "card")

    def test_what_slurm_may_be_asked_for(self) -> None:
        told = re.search(r"`slurm:` takes (.*?) \(", TEXT, re.DOTALL)
        assert told
        assert re.findall(r"[a-z]\w+_\w+|[a-z]{3,}", told[1].replace(" and ", " ")) == sorted(KEYS)

    def test_counts_of_images_are_the_releases(self) -> None:
        for name, row in re.findall(r"^\| `(\w+)` \|(.*)\|$", TEXT, re.MULTILINE):
            source = official_table().datasets[name]
            counts = re.search(r"([\d,]+) / ([\d,]+) *$", row)
            if counts and source.kind:
                told = tuple(int(part.replace(",", "")) for part in counts.groups())
                assert told == (source.n_train, source.n_val), name


def _is_quick(line: Line) -> bool:
    """Whether a call needs neither data nor weights."""
    path, params = parsed(line)
    if not line.complete or not params:
        return False
    if path == "compare" and params["results"] is None:
        return False  # of the records that lie in this repository; see below
    if path in ("run", "compare", "reproduce", "sweep"):
        told = [params.get(key) for key in ("backbone", "task", "suite", "first", "second")]
        words = {word for text in filter(None, told) for word in str(text).split(",")}
        quick = {"hog_s14", "rgb_s14", "mine.py:load", "scenes"}
        return all(word in quick or word.startswith("scenes_") for word in words)
    quick_ones = ("list", "show", "cache list", "sweep status", "sweep resume")
    return path in quick_ones or params.get("html") is not None


@pytest.mark.slow
def test_the_quick_examples_run_one_after_the_other(tmp_path: Path) -> None:
    for block in blocks():
        named = re.match(r"# (\w+\.(?:py|toml))\n", block.text)
        if named:
            (tmp_path / named[1]).write_text(block.text)
    quick = [line for line in LINES if _is_quick(line)]
    commands = {line.arguments[0] for line in quick}
    assert commands >= {"run", "compare", "leaderboard", "list", "show", "reproduce", "sweep"}
    for line in quick:
        print(line.text)
        call = [sys.executable, "-m", "densebench", *line.arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            call,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        assert done.returncode == 0, (line.text, done.stderr)


@pytest.mark.parametrize("block", [b for b in blocks() if b.text.startswith("$ ")])
def test_what_a_command_prints_is_what_it_prints(block: Block) -> None:
    """From the records of this repository."""
    first, *told = block.text.splitlines()
    call = [sys.executable, "-m", *shlex.split(first.removeprefix("$ "))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    done = subprocess.run(
        call, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    printed = {line.strip() for line in done.stdout.splitlines()}
    assert done.returncode == 0, done.stderr
    missing = [line for line in told if line.strip() not in printed | {"...", ""}]
    assert not missing
