"""The command line: parses, calls the API, prints. torch is imported inside commands only."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from densebench import __version__, cards
from densebench.console import clean_stdout, guarded
from densebench.errors import DensebenchError

app = typer.Typer(
    help="Benchmark dense (patch-level) visual features of any backbone.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
weights_app = typer.Typer(help="Fetch pretrained weights.", no_args_is_help=True)
cache_app = typer.Typer(help="Look at or clear the feature cache.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")
app.add_typer(cache_app, name="cache")

BackboneName = Annotated[
    str,
    typer.Option(
        "--backbone",
        help="A card's name or path, timm:ID, open_clip:ARCH/TAG, or FILE.py:FUNCTION.",
    ),
]
WeightsFile = Annotated[
    Path | None,
    typer.Option("--weights", help="Checkpoint in official or timm key naming.", exists=True),
]
Offline = Annotated[bool, typer.Option("--offline", help="Never use the network.")]
ResultsFolder = Annotated[
    Path | None, typer.Option("--results", help="Folder of records [leaderboard/results].")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]


def main() -> NoReturn:
    """The command ``densebench``."""
    guarded(lambda: app(standalone_mode=False))


@app.callback(invoke_without_command=True)
def _top(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def run(
    backbone: Annotated[
        str,
        typer.Option(
            help="A card's name or path, timm:ID, open_clip:ARCH/TAG or FILE.py:FUNCTION; "
            "or several: a pattern such as 'dinov2_*', or names with commas."
        ),
    ],
    task: Annotated[str, typer.Option(help="A task card's name or path, or several, likewise.")],
    variant: Annotated[
        str, typer.Option(help="reference (as published), clean (without quirks); linear: cached.")
    ] = "reference",
    param: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a parameter of the task card."),
    ] = None,
    weights: WeightsFile = None,
    data_root: Annotated[Path | None, typer.Option(help="Where the dataset lies.")] = None,
    train_list: Annotated[
        Path | None, typer.Option(help="Names of the training images: a file or a list's name.")
    ] = None,
    val_list: Annotated[
        Path | None, typer.Option(help="Names of the validation images: a file or a list's name.")
    ] = None,
    subset: Annotated[
        str | None, typer.Option(metavar="1/N", help="Only a share of the training images.")
    ] = None,
    subset_seed: Annotated[int, typer.Option(min=0, help="Which share; nested for 1/N.")] = 42,
    limit: Annotated[
        int | None, typer.Option(help="Images of each split; marks the record as partial.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Run that many, from --seed on.")] = 1,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Images through the backbone.")] = 16,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that read images [8 with a GPU, else 0].")
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16 (of the backbone).")] = "fp32",
    results: ResultsFolder = None,
    overwrite: Annotated[bool, typer.Option(help="Repeat a run whose record exists.")] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave unreadable images out, and record them.")
    ] = False,
    save_panels: Annotated[
        int, typer.Option(min=0, help="Keep the label maps of this many validation images.")
    ] = 0,
    cache: Annotated[
        str, typer.Option(help="Keep extracted features as fp32 or fp16, or off.")
    ] = "fp32",
    offline: Offline = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record alone.")] = False,
) -> None:
    """Evaluate a backbone on a task, and record the result; or many on many."""
    _one_of("--precision", precision, ("fp32", "bf16", "fp16"))
    _one_of("--cache", cache, ("fp32", "fp16", "off"))
    backbones, tasks = _names("backbones", backbone), _names("tasks", task)
    options: dict[str, Any] = {
        "variant": variant,
        "params": dict(_key_value(text) for text in param or []),
        "weights": weights,
        "data_root": data_root,
        "train_list": train_list,
        "val_list": val_list,
        "subset": subset,
        "subset_seed": subset_seed,
        "limit": limit,
        "seed": seed,
        "device": device,
        "batch_size": batch_size,
        "workers": workers,
        "precision": precision,
        "overwrite": overwrite,
        "skip_bad": skip_bad,
        "panels": save_panels,
        "cache": cache,
        "offline": offline,
    }
    if results is not None:
        options["results"] = results
    if len(backbones) * len(tasks) * seeds == 1:
        _run_one(backbones[0], tasks[0], options, as_json)
    else:
        _run_many(backbones, tasks, range(seed, seed + seeds), options, as_json)


def _run_one(backbone: str, task: str, options: dict[str, Any], as_json: bool) -> None:
    with clean_stdout() as stdout:
        from rich.console import Console

        from densebench.evaluate import RunOptions, evaluate
        from densebench.progress import TerminalWatcher
        from densebench.report.terminal import record_table

        watcher = TerminalWatcher(Console(stderr=True))
        record, path = evaluate(RunOptions(backbone, task, **options), watcher)
        if as_json:
            print(record.model_dump_json(indent=1), file=stdout)
            return
        console = Console(file=stdout)
        console.print(record_table(record))
        console.print(f"record: {path}", highlight=False, soft_wrap=True)


def _run_many(
    backbones: list[str],
    tasks: list[str],
    seeds: range,
    options: dict[str, Any],
    as_json: bool,
) -> None:
    with clean_stdout() as stdout:
        from rich.console import Console

        from densebench.evaluate import RunOptions
        from densebench.matrix import matrix_table, run_matrix
        from densebench.progress import TerminalWatcher

        base = RunOptions(backbones[0], tasks[0], **options)
        watcher = TerminalWatcher(Console(stderr=True))
        outcomes = run_matrix(base, backbones, tasks, seeds, watcher)
        if as_json:
            records = [o.record.model_dump(mode="json") for o in outcomes if o.record is not None]
            print(json.dumps(records, indent=1), file=stdout)
        else:
            Console(file=stdout).print(matrix_table(outcomes))
    failed = [outcome for outcome in outcomes if outcome.record is None]
    for outcome in failed:
        print(f"{outcome.run}: {outcome.reason}", file=sys.stderr)
    if failed:
        raise DensebenchError(f"{len(failed)} of {len(outcomes)} runs failed, as said above")


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for the records, the leaderboard and the picture.")
    ] = Path("densebench-demo"),
) -> None:
    """Score the two baselines on the embedded scenes: a first leaderboard in two minutes."""
    with clean_stdout() as stdout:
        from rich.console import Console

        from densebench.demo import run_demo
        from densebench.progress import TerminalWatcher

        made = run_demo(out, TerminalWatcher(Console(stderr=True)))
        print(made.page.read_text(encoding="utf-8"), file=stdout)
        print(f"leaderboard: {made.page}\npicture: {made.picture}", file=stdout)


@app.command()
def leaderboard(
    results: ResultsFolder = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write [README.md beside the records' folder].")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Show --limit runs too.")] = False,
) -> None:
    """Write the markdown leaderboard of all records."""
    from densebench.report.leaderboard import write_leaderboard
    from densebench.results import DEFAULT_RESULTS

    folder = results or DEFAULT_RESULTS
    page = out or folder.parent / "README.md"
    tables = write_leaderboard(folder, page, partial)
    print(f"{tables} table{'s' * (tables != 1)} in {page}")


@app.command("list")
def list_cards(
    kind: Annotated[str, typer.Argument(help="backbones, tasks or all.")] = "all",
) -> None:
    """List the cards that a name can stand for."""
    _one_of("KIND", kind, ("backbones", "tasks", "all"))
    if kind != "tasks":
        print("backbones")
        for name, path in cards.card_names("backbones").items():
            card = cards.backbone_card(path)
            shape = f"patch {card.patch_size:<3} dim {card.embed_dim:<5}"
            base = f" (from {card.adapted_from})" if card.adapted_from else ""
            print(f"  {name:<24} {shape} {card.description}{base}")
    if kind != "backbones":
        print("tasks")
        for name, path in cards.card_names("tasks").items():
            task, _ = cards.task_card(path)
            print(f"  {name:<24} {task.protocol:<15} {task.description}")


@app.command()
def show(name: Annotated[str, typer.Argument(help="A backbone's or task's name or path.")]) -> None:
    """Show everything that a card says, parameters at their published values included."""
    if name in cards.card_names("tasks") or (name.endswith(".toml") and _is_task(Path(name))):
        from densebench.protocols import task_params

        card, path = cards.task_card(name)
        shown = card.model_dump(mode="json", exclude_none=True)
        shown["params"] = task_params(card, str(path)).model_dump(mode="json")
    else:
        known = [*cards.card_names("backbones"), *cards.card_names("tasks")]
        if name not in known and not Path(name).is_file():
            raise DensebenchError(
                f"no card named '{name}'{cards.suggestion(name, known)}; see `densebench list`"
            )
        path = cards.card_path("backbones", name)
        shown = cards.backbone_card(name).model_dump(mode="json", exclude_none=True)
    print(f"# {path}")
    print(json.dumps(shown, indent=2))


@app.command()
def extract(
    backbone: BackboneName,
    image: Annotated[Path, typer.Option(help="An image, or a folder of images.")],
    size: Annotated[int, typer.Option(help="Side of the square input in pixels.", min=1)],
    out: Annotated[Path, typer.Option(help="File to write: patches (n, h, w, D) and names.")],
    weights: WeightsFile = None,
    device: Device = "auto",
    offline: Offline = False,
) -> None:
    """Write the patch features of images to an .npz file."""
    with clean_stdout() as stdout:
        from densebench.extract import extract_images

        shape = extract_images(
            backbone, image, size, out, weights=weights, device=device, offline=offline
        )
        print(f"{out}: patches {'x'.join(map(str, shape))}", file=stdout)


@weights_app.command()
def fetch(
    name: Annotated[
        str, typer.Argument(help="A backbone card's name, or a pattern such as 'dino*'.")
    ],
) -> None:
    """Download the weights of one or several backbone cards into the cache."""
    from densebench.backbones.hub import fetch as fetch_weights

    for matched in cards.match_names("backbones", name):
        card = cards.backbone_card(matched)
        if card.weights is None:
            print(f"{matched}: needs no weights")
            continue
        print(f"{matched}: {fetch_weights(card)}")


@cache_app.command("list")
def cache_list() -> None:
    """List the kept features, the ones used last first."""
    from densebench.cache import age, feature_cache
    from densebench.memory import gigabytes

    kept = feature_cache()
    entries = kept.entries()
    for entry in entries:
        view = entry.spec["view"]
        images = f"{entry.filled}/{entry.images} images"
        what = f"{view['transform']} {view['size']}"
        size = gigabytes(entry.n_bytes)
        print(f"{entry.key[:12]}  {size:>10}  {images}  {what}  {age(entry.used)}")
    total = gigabytes(sum(entry.n_bytes for entry in entries))
    print(f"{len(entries)} entries, {total} of {gigabytes(kept.limit)} in {kept.folder}")


@cache_app.command("clear")
def cache_clear(
    keys: Annotated[list[str] | None, typer.Argument(help="Keys, or how they begin [all].")] = None,
) -> None:
    """Remove kept features."""
    from densebench.cache import feature_cache
    from densebench.memory import gigabytes

    print(f"freed {gigabytes(feature_cache().clear(keys))}")


@app.command()
def predict(
    backbone: BackboneName,
    head: Annotated[Path, typer.Option(help="A head that a linear run left.", exists=True)],
    image: Annotated[Path, typer.Option(help="The image to label.")],
    out: Annotated[Path, typer.Option(help="Palette PNG to write, of the image's size.")],
    weights: WeightsFile = None,
    device: Device = "auto",
    offline: Offline = False,
) -> None:
    """Label an image with a trained head."""
    with clean_stdout() as stdout:
        from densebench.predict import predict_image

        shares = predict_image(
            backbone, head, image, out, weights=weights, device=device, offline=offline
        )
        named = ", ".join(f"{name} {100 * share:.1f}%" for name, share in shares.items())
        print(f"{out}: {named}", file=stdout)


def _names(kind: cards.CardKind, text: str) -> list[str]:
    """The names that an option gives: one, several with commas, or all that a pattern matches."""
    names = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        pattern = any(mark in part for mark in "*?[") and not Path(part).exists()
        names += cards.match_names(kind, part) if pattern else [part]
    if not names:
        raise DensebenchError(f"no {kind[:-1]} is named")
    return list(dict.fromkeys(names))


def _is_task(path: Path) -> bool:
    return path.is_file() and "protocol" in cards.read_toml(path)


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise DensebenchError(
            f"{option} must be one of {', '.join(allowed)}, not '{value}'"
            f"{cards.suggestion(value, allowed)}"
        )


def _key_value(text: str) -> tuple[str, Any]:
    """``key=value``, the value in TOML's notation or else a string."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise DensebenchError(f"--set wants KEY=VALUE, not '{text}'")
    return key.strip(), cards.parse_value(value.strip())


if __name__ == "__main__":
    main()
