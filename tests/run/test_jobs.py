"""Which runs there are, and which of them share features."""

from pathlib import Path

import pytest

from densebench.host.errors import DensebenchError
from densebench.run.jobs import sharing_features, wanted_runs
from densebench.run.options import RunOptions


def test_one_job_for_a_backbone_on_the_images_of_a_dataset(tiny_task: Path) -> None:
    tasks = [str(tiny_task), str(tiny_task.with_name("linear.toml")), "scenes_linear"]
    base = RunOptions("", "")
    runs = wanted_runs(base, ["rgb_s14", "hog_s14"], tasks, [0, 1])
    jobs = sharing_features(runs)
    told = [{(run.backbone, run.task, run.seed) for run in job} for job in jobs]
    of_both = [
        {(name, task, seed) for task in tasks[:2] for seed in (0, 1)}
        for name in ("rgb_s14", "hog_s14")
    ]
    scenes = [{(name, tasks[2], seed) for seed in (0, 1)} for name in ("rgb_s14", "hog_s14")]
    assert told == of_both + scenes
    assert sorted(map(id, runs)) == sorted(id(run) for job in jobs for run in job)


def test_pictures_in_other_folders_are_another_job(tiny_task: Path, colour_task: Path) -> None:
    runs = wanted_runs(RunOptions("", ""), ["rgb_s14"], [str(tiny_task), str(colour_task)], [0])
    assert len(sharing_features(runs)) == 2


def test_a_task_that_is_not() -> None:
    with pytest.raises(DensebenchError, match="voc_incontex"):
        sharing_features([RunOptions("rgb_s14", "voc_incontex")])
