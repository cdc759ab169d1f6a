"""`densebench data`: datasets, from an empty folder to one that is checked."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from densebench.cards import find_task
from densebench.cli.app import Group, app
from densebench.host.console import clean_stdout, one_line, visible
from densebench.host.errors import DensebenchError

if TYPE_CHECKING:
    from densebench.host.screen import Console
    from densebench.prepare.licences import Ask
    from densebench.prepare.verify import Report

data_app = typer.Typer(cls=Group, help="Fetch, prepare and check datasets.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Root = Annotated[
    Path | None, typer.Option(help="The folder of datasets [DENSEBENCH_DATA, or data].")
]


@data_app.command()
def prepare(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="voc, ade20k, coco_things, coco_stuff, coco_unlabeled, cityscapes, imagenet, "
            "camvid; nyuv2, which is put there by hand; subsets: the published lists of training "
            "images, for `run --subset 1/128`.",
        ),
    ],
    root: Root = None,
    given: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="A folder with archives that you have."),
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept-license", help="You have read the owners' terms and agree.")
    ] = False,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep-archives", help="Keep downloads in ROOT/archives, and use them again."
        ),
    ] = False,
) -> None:
    """Fetch, verify, unpack and convert datasets; what is done is not repeated.

    DENSEBENCH_MIRROR=http://HOST/PATH fetches each archive by its file name, and each list of
    subsets by its path (file_sets/...), from there instead; the content must be the official one
    all the same.
    """
    with clean_stdout() as stdout:
        from densebench.host.paths import data_home
        from densebench.host.progress import TerminalWatcher
        from densebench.host.screen import Console
        from densebench.prepare.pipeline import Options
        from densebench.prepare.pipeline import prepare as prepare_one
        from densebench.prepare.sources import official_table
        from densebench.prepare.subsets import SUBSETS, prepare_subsets

        for name in set(names) - {SUBSETS}:
            official_table().source(name)
        place = root or data_home()
        watcher = TerminalWatcher(Console(stderr=True))
        options = Options(given, accept, _asker(), keep)
        for name in names:
            if name == SUBSETS:
                print(prepare_subsets(watcher), file=stdout)
                continue
            report = prepare_one(name, place, options, watcher)
            _show_problems(report)
            if report.problems:
                raise DensebenchError(f"{name}: prepared, but with problems, as said above")
            counts = ", ".join(f"{s.images:,} {split}" for split, s in report.splits.items())
            print(f"{name}: {counts} images in {report.place}", file=stdout)
            print(f"check every file: densebench data verify {name} --root {place}", file=stdout)


@data_app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Holds images and masks, in folders below it.")],
    name: Annotated[
        str | None, typer.Option(help="The task's name [the folder's], and its card's.")
    ] = None,
    images: Annotated[str | None, typer.Option(help="The folder of images, below it.")] = None,
    masks: Annotated[str | None, typer.Option(help="The folder of masks, below it.")] = None,
    val: Annotated[float, typer.Option(help="Share of the images for validation.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Of the draw of that share.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the card.")] = False,
) -> None:
    """Write a task card of a folder: pairs found, ids counted, a seeded split, the palette kept."""
    with clean_stdout() as stdout:
        from densebench.host.progress import TerminalWatcher
        from densebench.host.screen import Console
        from densebench.prepare.own_folder import Wanted, find_pairs, write_card

        wanted = Wanted(name or folder.resolve().name, val, seed, overwrite)
        pairs = find_pairs(folder, images, masks)
        card, lines = write_card(folder, pairs, wanted, TerminalWatcher(Console(stderr=True)))
        for line in lines:
            print(visible(line), file=stdout)
        print(f"{card}: name the classes in it, then", file=stdout)
        print(f"check every file: densebench data verify {card}", file=stdout)


@data_app.command()
def verify(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Datasets, cards of tasks, or all.")
    ],
    root: Root = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Read a sample of the files; no fingerprint.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the reports as JSON.")] = False,
) -> None:
    """Check datasets: counts, pairs, sizes, mask ids, pixels of each class, fingerprint.

    Of a task, named by its card's file or its name, its own images are checked.
    """
    with clean_stdout() as stdout:
        from densebench.host.paths import data_home
        from densebench.host.progress import TerminalWatcher
        from densebench.host.screen import Console
        from densebench.prepare.task_check import verify_task
        from densebench.prepare.verify import verify as verify_one

        place = root or data_home()
        watcher = TerminalWatcher(Console(stderr=True))
        tasks = [find_task(name) for name in names if _is_task(name)]
        known = [name for name in names if not _is_task(name)]
        chosen = _chosen(known, place) if known else []
        reports = [verify_one(name, place, quick=quick, watcher=watcher) for name in chosen]
        reports += [verify_task(task, root, quick, watcher) for task in tasks]
        if as_json:
            print(json.dumps([report.as_json() for report in reports], indent=1), file=stdout)
        else:
            for report in reports:
                _show(report, Console(file=stdout))
    for report in reports:
        _show_problems(report)
    bad = [report.dataset for report in reports if report.problems]
    if bad:
        raise DensebenchError(f"{', '.join(bad)}: not as {_wanted(names)}, as said above")


def _is_task(name: str) -> bool:
    """A card's file; or a task's name, where no dataset has it."""
    from densebench.cards import card_names
    from densebench.prepare.sources import official_table

    if name.endswith(".toml"):
        return True
    return name != "all" and name not in official_table().datasets and name in card_names("tasks")


def _wanted(names: list[str]) -> str:
    return "its card says" if all(_is_task(name) for name in names) else "released"


def _chosen(names: list[str], root: Path) -> list[str]:
    from densebench.prepare.sources import official_table
    from densebench.prepare.verify import is_there

    if names != ["all"]:
        for name in names:
            official_table().source(name)
        return names
    there = [name for name in official_table().datasets if is_there(name, root)]
    if not there:
        raise DensebenchError(
            f"no dataset in {root}; get one with `densebench data prepare NAME --root {root}`"
        )
    return there


def _asker() -> "Ask | None":
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    return lambda question: typer.confirm(question, err=True)


def _show_problems(report: "Report") -> None:
    for problem in report.problems:
        print(one_line(f"{report.dataset}: {problem}"), file=sys.stderr)


def _show(report: "Report", console: "Console") -> None:
    from rich.table import Table
    from rich.text import Text

    def say(line: str) -> None:
        console.print(visible(line), highlight=False, soft_wrap=True, markup=False)

    say(f"{report.dataset} in {report.place}{' (a sample)' if report.quick else ''}")
    for name, split in report.splits.items():
        say(f"  {name}: {split.images:,} of {split.expected:,} images, {split.checked:,} read")
        if split.valued:
            share = 100 * split.valued / (split.valued + split.ignored)
            say(f"  {name}: {share:.2f}% of the pixels have a value")
    pixels = {name: split.pixels for name, split in report.splits.items() if split.pixels}
    if pixels:
        table = Table("class", *(f"{name}, % of labelled pixels" for name in pixels))
        totals = {name: max(1, sum(counts.values())) for name, counts in pixels.items()}
        absent = []
        for label in next(iter(pixels.values())):
            if not any(pixels[n][label] for n in pixels):
                absent.append(label)
                continue
            table.add_row(
                Text(visible(label)), *(f"{100 * pixels[n][label] / totals[n]:.2f}" for n in pixels)
            )
        console.print(table)
        if absent:
            say(f"  without a pixel: {', '.join(absent)}")
    if report.fingerprint:
        say(f"  fingerprint: {report.fingerprint}")
