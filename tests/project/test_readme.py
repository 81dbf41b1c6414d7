"""What the README and the tour say to type works, in its order."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_road import EMOJI, emoji_rows, write_manifest

ROOT = Path(__file__).parents[2]
TOUR = (ROOT / "docs" / "tour.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TOUR, re.S | re.M)


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCKS if found == language]


def masked(text: str) -> str:
    """What commands print, without what differs from run to run: times and fingerprints."""
    return re.sub(r"seconds +[\d.]+", "seconds", re.sub(r"[0-9a-f]{32}", "fingerprint", text))


@pytest.mark.slow
def test_the_tour_runs_from_top_to_bottom(tmp_path):
    shutil.copytree(EMOJI / "train" / "twemoji", tmp_path / "twemoji")
    (tmp_path / "more_pictures").mkdir()
    rows = [row for row in emoji_rows(700) if row["style"] == "twemoji"]
    for number, row in enumerate(rows[:3]):
        shutil.copy(tmp_path / row["image"], tmp_path / "more_pictures" / f"{number}.png")
    (tmp_path / "more_pictures" / "broken.png").write_bytes(b"no picture")
    write_manifest(tmp_path / "pictures.jsonl", [*rows, json.loads(blocks("json")[0])][1:])
    (tmp_path / "pictures.yaml").write_text(blocks("yaml")[0].replace("epochs: 40", "epochs: 1"))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    printed = ""
    for language, text in BLOCKS:
        if language == "sh":
            command = ["bash", "-euc", text]
        elif language == "python":
            command = [sys.executable, "-c", text]
        elif language == "console":
            commands = re.findall(r"^\$ (.*)$", text, re.M)
            shown = re.sub(r"^\$ .*\n", "", text, flags=re.M)
            done = subprocess.run(
                ["bash", "-uc", "\n".join(commands)], cwd=tmp_path, env=environment, text=True, stdout=-1, stderr=-2
            )
            assert masked(done.stdout) == masked(shown)
            continue
        else:
            continue
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        printed += done.stdout + done.stderr
    assert re.search(r"read +4\n +labelled +3\n +dead lettered +1\n +skipped +0\n", printed)
    assert "failed: cannot open" in printed
    assert "encoder: cnn" in printed


def test_the_commands_of_the_readme_are_those_of_the_tour():
    shown = re.findall(r"^ {4}(mmstream .*)$", (ROOT / "README.md").read_text(), re.M)
    assert len(shown) == 4
    assert set(shown) <= set("".join(blocks("sh")).splitlines())


def test_every_page_that_the_readme_names_is_there():
    links = re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text())
    assert len(links) > 8
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_make_knows_the_targets_that_the_readme_names():
    named = set(re.findall(r"make (install|demo|test|check)\b", (ROOT / "README.md").read_text()))
    assert named == {"install", "demo", "test", "check"}
    for target in named:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_the_map_names_every_package_of_the_core():
    text = (ROOT / "docs" / "architecture.md").read_text()
    drawing = text[text.index("```text") : text.index("```", text.index("```text") + 3)]
    known = {path.name for path in (ROOT / "mmstream").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert not known - set(re.findall(r"\w+", drawing))
