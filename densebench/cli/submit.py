"""`densebench submit`: records that are to join the leaderboard."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from densebench.cli.app import app
from densebench.host.console import clean_stdout
from densebench.host.errors import DensebenchError

if TYPE_CHECKING:
    from densebench.submission.packing import Submission


@app.command()
def submit(
    records: Annotated[
        list[Path], typer.Argument(help="Records (.json), or folders that hold some.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write, for a pull request.")] = Path(
        "submission"
    ),
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Write nothing: are records that lie in the leaderboard as they must be?",
        ),
    ] = False,
    hub_dataset: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="The benchmark's dataset on the Hugging Face hub."),
    ] = None,
) -> None:
    """Check records, and write the folder of a pull request that adds them to the leaderboard.

    Checksums; every number, computed again from the evidence; official lists of images; the task
    as it ships; what post-training has seen; where the weights can be had. All that is wrong is
    told at once.
    """
    with clean_stdout() as stdout:
        from densebench.host.console import one_line
        from densebench.report.formats.eval_results import HUB_DATASET
        from densebench.submission.packing import submit as submitted

        found = submitted(records, None if check else out, hub_dataset or HUB_DATASET)
        for line in found.problems:
            print(one_line(line), file=sys.stderr)
        if not found.problems:
            print(_told(found), file=stdout)
    if found.problems:
        wrong = sum(bool(one.problems) for one in found.checked)
        raise DensebenchError(
            f"{wrong} of {len(found.checked)} records cannot be submitted, as said above; "
            "nothing was written"
        )


def _told(found: "Submission") -> str:
    n = len(found.checked)
    told = f"{n} record{'s' * (n != 1)} checked, nothing is wrong"
    if found.folder is None:
        return told
    return (
        f"{told}\n{found.folder}: copy its leaderboard/ (and backbones/, if it is there) into a "
        f"clone of densebench, commit them, and open a pull request with the text of "
        f"{found.folder / 'PULL_REQUEST.md'}"
    )
