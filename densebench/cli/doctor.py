"""`densebench doctor`: what works here, and how to mend what does not."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from densebench.cli.app import app
from densebench.host.console import clean_stdout
from densebench.host.errors import DensebenchError

if TYPE_CHECKING:
    from densebench.doctor import Finding

MARKS = {"ok": "ok", "note": "note", "broken": "BROKEN"}


@app.command()
def doctor(
    root: Annotated[
        Path | None, typer.Option(help="The folder of datasets [DENSEBENCH_DATA, or data].")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Where records are kept [leaderboard/results].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Examine Python, torch, GPU, faiss, memory, disk, datasets, weights and cards.

    Ends with code 2 when something is broken. What is only missing is no fault.
    """
    with clean_stdout() as stdout:
        from densebench.api import examine

        findings = examine(root, results)
        broken = [finding.name for finding in findings if finding.state == "broken"]
        if as_json:
            shown = {"ok": not broken, "findings": [asdict(finding) for finding in findings]}
            print(json.dumps(shown, indent=1), file=stdout)
        else:
            _show(findings, stdout)
    if broken:
        raise DensebenchError(f"{len(broken)} of {len(findings)} findings are broken, as said")


def _show(findings: "list[Finding]", stdout: TextIO) -> None:
    section = ""
    for finding in findings:
        if finding.section != section:
            section = finding.section
            print(section, file=stdout)
        print(f"  {MARKS[finding.state]:<7}{finding.name:<16} {finding.text}", file=stdout)
        if finding.remedy:
            print(f"         mend: {finding.remedy}", file=stdout)
