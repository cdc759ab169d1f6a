"""A cluster of one machine: the commands of Slurm that submitit calls, as scripts."""

import os
import sys
from pathlib import Path

import pytest

SBATCH = """#!{python}
import os, re, subprocess, sys
from pathlib import Path
home, script = Path(__file__).parent, sys.argv[-1]
text = Path(script).read_text()
if "partition=closed" in text:
    sys.exit("sbatch: error: invalid partition specified: closed")
(home / "script.sh").write_text(text)
last = re.search(r"--array=0-([0-9]+)", text)
for task in range(int(last[1]) + 1) if last else [None]:
    subprocess.Popen([home / "scontrol", "requeue", "77" if task is None else f"77_{{task}}"])
print("Submitted batch job 77")
"""
SCONTROL = """#!{python}
import os, subprocess, sys
from pathlib import Path
home = Path(__file__).parent
job, _, task = sys.argv[2].partition("_")
with (home / "started.txt").open("a") as log:
    log.write(f"{{sys.argv[2]}}\\n")
env = dict(os.environ, SLURM_JOB_ID=job, SLURM_PROCID="0")
if task:
    env.update(SLURM_ARRAY_JOB_ID=job, SLURM_ARRAY_TASK_ID=task)
subprocess.Popen(
    ["bash", str(home / "script.sh")],
    env=env,
    start_new_session=True,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)
"""
SRUN = """#!{python}
import os, sys
from pathlib import Path
home, words = Path(__file__).parent, sys.argv[1:]
while words[0].startswith("--"):
    option = words.pop(0)
    if option in ("--output", "--error"):
        name = words.pop(0).replace("%A", os.environ["SLURM_JOB_ID"]).replace("%t", "0")
        name = name.replace("%j", os.environ["SLURM_JOB_ID"])
        name = name.replace("%a", os.environ.get("SLURM_ARRAY_TASK_ID", ""))
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1 + (option == "--error"))
task = os.environ.get("SLURM_ARRAY_TASK_ID", "0")
(home / f"pid-{{task}}").write_text(str(os.getpid()))
os.execvp(words[0], words)
"""
SACCT = """#!{python}
from pathlib import Path
print(Path(__file__).with_name("sacct.txt").read_text())
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the commands; ``sacct.txt`` in it is what Slurm says of its jobs."""
    home = tmp_path / "slurm"
    home.mkdir()
    scripts = {"sbatch": SBATCH, "scontrol": SCONTROL, "srun": SRUN, "sacct": SACCT}
    for name, text in scripts.items():
        (home / name).write_text(text.format(python=sys.executable))
        (home / name).chmod(0o755)
    (home / "sacct.txt").write_text("JobID|State|NodeList\n")
    monkeypatch.setenv("PATH", f"{home}{os.pathsep}{os.environ['PATH']}")
    return home
