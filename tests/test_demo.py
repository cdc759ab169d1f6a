"""The first thing that a newcomer runs."""

import re
import subprocess
import sys

from PIL import Image


def test_the_demo_leaves_a_leaderboard_and_a_picture(tmp_path):
    command = [sys.executable, "-m", "densebench", "demo", "--out", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "demo" / "README.md").read_text()
    assert page in done.stdout
    links = re.findall(r"\]\((results/[^)]+)\)", page)
    assert len(links) == 2
    assert all((tmp_path / "demo" / link).is_file() for link in links)
    best, second = (float(n) for n in re.findall(r"\[(?:\*\*|<u>)([\d.]+)", page))
    assert best > second + 10
    with Image.open(tmp_path / "demo" / "predictions.png") as picture:
        assert picture.width > 600
