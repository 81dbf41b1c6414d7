"""The report of an evaluation: one page, whole in a browser, with nothing of what strangers wrote left alive."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest

from mmstream.evaluation.reliability import expected_calibration_error
from mmstream.evaluation.report import write_report
from mmstream.interfaces import Classes, Numbers, Texts

ATTACK = '<script>document.title = "attacked"</script>'
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def head(metric, value, fields=("image",)):
    contributed = {"records": 8, "whole": value, "alone": value, "shuffled": value / 2, "absent": value / 3}
    return {
        metric: value,
        "metric": metric,
        "reads": list(fields),
        "intervals": {metric: [value - 0.1, value + 0.1]},
        "fields": dict.fromkeys(fields, contributed),
        "warnings": [f"image hardly matters {ATTACK}"],
    }


@pytest.fixture
def page(tmp_path):
    """Of a head of each kind; ids, texts, classes and the model's name are attacks."""
    return write(tmp_path / "report.html")


def write(path):
    random = np.random.default_rng(0)
    rows = np.arange(8)
    names = [ATTACK, "$x^2$", "猫", "แมว"]
    hot = np.eye(4, dtype=bool)[random.integers(4, size=8)]
    scores = random.dirichlet(np.ones(4), 8)
    given = np.eye(4, dtype=bool)[scores.argmax(1)]
    outcomes = {
        "kind": Classes(rows, names, hot, given, scores, exclusive=True, fitted=3),
        "tags": Classes(rows, names, hot, scores > 0.3, scores, exclusive=False, fitted=4),
        "caption": Texts(rows, [f"{ATTACK} {n}" for n in rows], ["a cat"] * 8, random.random(8), [["a", "cat"]] * 8),
        "price": Numbers(rows, random.random((8, 2)), random.random((8, 2))),
        "empty": Texts(rows[:0], [], [], np.array([]), []),
    }
    targets = {
        "_id": np.array([f"{ATTACK}{n}" for n in rows]),
        "image": {
            "present": np.ones(8, np.float32),
            "pixels": random.integers(0, 255, (8, 4, 4, 3)).astype(np.uint8),
        },
        "text": {"present": np.ones(8, np.float32), "text": [ATTACK] * 8},
    }
    specs = {"image": {"pixels": ((4, 4, 3), "uint8")}, "text": {}}
    heads = {"kind": head("accuracy", 0.5, ("image", "text")), "tags": head("map", 0.4)}
    heads |= {"caption": head("chrf", 0.3), "price": head("r2", 0.2)}
    heads["empty"] = {"metric": "chrf", "reads": ["image"], "intervals": {}, "fields": {}, "warnings": []}
    about = {
        "model": f"model {ATTACK}",
        "fingerprint": "f" * 32,
        "split": "test",
        "records": 8,
        "history": [{"epoch": 1.0, "loss": 2.0, "val_loss": 3.0}, {"epoch": 2.0, "loss": 1.0, "natural_unique": 0.5}],
        "best_epoch": 1,
        "heads": heads,
        "retrieval": {"image->text": {"r@1": 0.1, "candidates": 8, "intervals": {"r@1": [0.0123, 0.2]}}},
    }
    write_report(str(path), about, outcomes, targets, specs)
    return path


def test_what_strangers_wrote_is_escaped_and_nothing_comes_from_elsewhere(page):
    text = page.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert set(re.findall(r'(?:src|href)="([^"]{0,5})', text)) == {"data:", "#head"}
    assert "default-src 'none'" in text


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_all_its_parts_and_has_nothing_to_complain_of(page, width):
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--log-level=0"]
    shown = subprocess.run(
        [*command, f"--window-size={width},2000", "--virtual-time-budget=5000", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in shown.stderr
    titles = re.findall(r"<figcaption>(.*?)</figcaption>", shown.stdout)
    assert titles[:4] == ["What each field contributes", "Reliability", "Precision and recall", "Confusion"]
    assert titles.count("Reliability") == 2
    assert titles[-2:] == ["Predicted against true 1", "Predicted against true 2"]
    assert shown.stdout.count('class="card"') == 4 * 2 * 8
    assert shown.stdout.count('class="classes"') == 2
    assert "Retrieval in the shared space" in shown.stdout
    assert "What was measured in each epoch of the training" in shown.stdout
    assert "<td>0.0123 – 0.2</td>" in shown.stdout
    assert "no record of this split has a target" in shown.stdout
    assert "<title>Evaluation of model &lt;script&gt;" in shown.stdout


def test_equal_outcomes_give_equal_pages(page, tmp_path):
    assert write(tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_probabilities_that_are_right_as_often_as_they_say_have_no_calibration_error():
    wanted = np.array([[True, False]] * 9 + [[False, True]])
    scores, found = np.tile([0.9, 0.1], (10, 1)), np.tile([True, False], (10, 1))
    outcome = Classes(np.arange(10), ["a", "b"], wanted, found, scores, exclusive=True, fitted=2)
    assert expected_calibration_error(outcome) == pytest.approx(0)
    bold = Classes(np.arange(10), ["a", "b"], wanted, found, np.tile([1.0, 0.0], (10, 1)), exclusive=True, fitted=2)
    assert expected_calibration_error(bold) == pytest.approx(0.1)
