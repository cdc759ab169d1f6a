"""The whole loop on what comes with the package: score, post-train with NeCo, score again."""

from dataclasses import dataclass, replace
from pathlib import Path

from densebench.cards import find_task
from densebench.datasets import load_dataset
from densebench.host.watcher import Watcher
from densebench.posttrain.session import PosttrainOptions, posttrain
from densebench.records.panels import contact_sheet, panel_folder
from densebench.report.board.board import Board, load_board
from densebench.report.outputs import write_formats
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

FLOOR, BASE, TRAINED = "rgb_s14", "hog_mixer_s14", "hog_mixer_neco"
TASK, RECIPE = "scenes_incontext", "neco_demo"
SHOWN, SIDE = 4, 160


@dataclass(frozen=True)
class Demo:
    """What the demo found, and where it left its page, the same in markdown, and its picture."""

    board: Board
    page: Path
    markdown: Path
    picture: Path


def run_demo(out: Path, watcher: Watcher) -> Demo:
    """Score two baselines on the scenes, post-train the better one on the same images, score it.

    The training sees no label. What an earlier demo in the same folder has done is not repeated.
    """
    results = out / "results"
    options = RunOptions("", TASK, results=results, panels=SHOWN, batch_size=32)
    panels = {}
    for backbone in (FLOOR, BASE, TRAINED):
        trained = posttrain(_training(out), watcher) if backbone == TRAINED else None
        watcher.say(f"{backbone} on {TASK}")
        _, path = evaluate(replace(options, backbone=str(trained or backbone)), watcher)
        panels[backbone] = panel_folder(path)
    board = load_board(results)
    made = Demo(board, out / "leaderboard.html", out / "README.md", out / "predictions.png")
    write_formats(board, {"html": made.page, "markdown": made.markdown})
    contact_sheet(panels, SIDE).save(made.picture)
    return made


def _training(out: Path) -> PosttrainOptions:
    found = find_task(TASK)
    card, file = found.card, found.file
    images = load_dataset(card.dataset, card_path=file).train.image_files
    listed = out / "training-images.txt"
    listed.parent.mkdir(parents=True, exist_ok=True)
    listed.write_text("\n".join(str(Path(image).resolve()) for image in images) + "\n")
    folder = out / TRAINED
    begun = (folder / f"{TRAINED}.toml").is_file() or any((folder / "checkpoints").glob("*.pt"))
    return PosttrainOptions(
        BASE,
        (listed,),
        TRAINED,
        recipe=RECIPE,
        out=folder,
        resume=begun,
        overwrite=not begun,
        register=False,
    )
