"""A console whose reader may go."""

import subprocess
import sys

CODE = """
import sys
from densebench.host.screen import Console
console = Console()
for number in range(20_000):
    console.print(f"line {number}")
print(console.quiet, file=sys.stderr)
"""


def test_work_goes_on_when_nobody_reads() -> None:
    command = f"{sys.executable} -c '{CODE}' | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout == "line 0\n"
    assert done.stderr.splitlines()[0] == "True"
