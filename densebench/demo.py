"""The first result: the baselines on the embedded scenes, with a leaderboard and a picture."""

from dataclasses import dataclass, replace
from pathlib import Path

from densebench.evaluate import RunOptions, Watcher, evaluate
from densebench.report.leaderboard import write_leaderboard
from densebench.report.panels import contact_sheet, panel_folder

BACKBONES = ("rgb_s14", "hog_s14")
TASK = "scenes_incontext"
SHOWN, SIDE = 4, 160


@dataclass(frozen=True)
class Demo:
    """Where the demo left its page and its picture."""

    page: Path
    picture: Path


def run_demo(out: Path, watcher: Watcher) -> Demo:
    """Run every baseline on the scenes, then write the leaderboard and a sheet of predictions."""
    results = out / "results"
    options = RunOptions("", TASK, results=results, panels=SHOWN, batch_size=32)
    panels = {}
    for backbone in BACKBONES:
        watcher.say(f"{backbone} on {TASK}")
        _, path = evaluate(replace(options, backbone=backbone), watcher)
        panels[backbone] = panel_folder(path)
    made = Demo(out / "README.md", out / "predictions.png")
    write_leaderboard(results, made.page, partial=False)
    contact_sheet(panels, SIDE).save(made.picture)
    return made
