"""The first thing that a newcomer runs."""

import re
import subprocess
import sys

import pytest
from PIL import Image


def test_the_demo_leaves_a_leaderboard_and_a_picture(tmp_path):
    command = [sys.executable, "-m", "densebench", "demo", "--out", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "demo" / "README.md").read_text()
    assert page not in done.stdout
    html = tmp_path / "demo" / "leaderboard.html"
    assert done.stdout.splitlines()[-1].endswith(html.as_uri())
    assert "hog_mixer_neco" in html.read_text()
    rows = [line[2:].split(" | ") for line in page.splitlines() if "](results/" in line]
    links = [re.search(r"\]\((results/[^)]+)\)", row[1])[1] for row in rows]
    assert len(links) == 3
    assert all((tmp_path / "demo" / link).is_file() for link in links)
    scores = {row[0]: float(re.search(r"[\d.]+", row[1])[0]) for row in rows}
    assert scores["hog_mixer_s14"] > scores["rgb_s14"] + 10
    trained = next(row for row in rows if row[0] == "hog_mixer_neco")
    gained = scores["hog_mixer_neco"] - scores["hog_mixer_s14"]
    told = re.match(r"([+-][\d.]+) hog_mixer_s14 ", trained[-1])
    assert float(told[1]) == pytest.approx(gained, abs=0.011)  # of scores rounded to 0.01
    assert (tmp_path / "demo" / "hog_mixer_neco" / "student.safetensors").is_file()
    with Image.open(tmp_path / "demo" / "predictions.png") as picture:
        assert picture.width > 800
