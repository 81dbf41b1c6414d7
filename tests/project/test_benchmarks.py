"""The benchmarks run and report, on a few records."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["label", "preprocess"])
def test_a_benchmark_runs_both_contenders_and_reports(name, tmp_path):
    path = tmp_path / "report.json"
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--quick", "--threads", "2", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{name}: 300 records")
    report = json.loads(path.read_text())
    assert report["title"] == name
    assert {contender: len(works) for contender, works in report["work"].items()} == {"mmstream": 1, "bare": 1}
    assert all(work["startup_seconds"] > 0 for works in report["work"].values() for work in works)
    assert list(report["ratios"]) == ["bare / mmstream"]
    for ratio in report["ratios"].values():
        assert ratio["low"] <= ratio["median"] <= ratio["high"]
    assert list(report["memory"]["peak_bytes"]) == ["64", "300", "600"]
    assert {"slope", "above_network", "bytes_a_record"} <= set(report["memory"])


@pytest.mark.slow
def test_the_cost_of_trust_is_measured(tmp_path):
    path = tmp_path / "report.json"
    command = [sys.executable, str(BENCHMARKS / "trust.py"), "--quick", "--threads", "2", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert list(json.loads(path.read_text())["ratios"]) == ["shim / mmstream"]


@pytest.mark.slow
def test_a_rerun_with_nothing_to_do_is_measured(tmp_path):
    path = tmp_path / "report.json"
    command = [sys.executable, str(BENCHMARKS / "rerun.py"), "--quick", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert set(json.loads(path.read_text())) == {"first run", "rerun"}


@pytest.mark.slow
def test_how_long_a_picture_waits_is_measured(tmp_path):
    path = tmp_path / "report.json"
    command = [sys.executable, str(BENCHMARKS / "watch.py"), "--minutes", "0.4", "--kills", "1", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text())
    assert report["kills"] == 1
    assert report["all"]["files"] == report["files"] > 50
    assert 0 < report["all"]["median"] <= report["all"]["p99"] <= report["all"]["longest"]


@pytest.mark.slow
def test_how_costs_grow_is_measured(tmp_path):
    path = tmp_path / "report.json"
    command = [sys.executable, str(BENCHMARKS / "scale.py"), "--records", "64", "--fixed", "100", "--parts", "3"]
    done = subprocess.run([*command, "--workers", "--json", str(path)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    lines = json.loads(path.read_text())
    assert [(line["records"], line["parts"]) for line in lines[:2]] == [(64, 1), (100, 4)]
    assert all(line["rerun_seconds"] > line["settle_seconds"] > 0 for line in lines)
    assert done.stdout.startswith("| records | parts |")


@pytest.mark.slow
def test_the_hand_written_network_is_the_same(tmp_path):
    path = tmp_path / "report.json"
    command = [sys.executable, str(BENCHMARKS / "train.py"), "transformer", "--quick", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr  # it compares the numbers of parameters
    report = json.loads(path.read_text())
    assert (report["unit"], list(report["ratios"])) == ("steps", ["bare / mmstream"])
