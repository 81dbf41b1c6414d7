"""Trials that are trained, each in a process of its own: they give what `train` gives, and survive being killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_road import run

import mmstream
from mmstream.tuning import trial_process

OPEN = """
  width: {any: [8, 16]}
  encoders: {image: {use: cnn, filters: [4]}}
  heads: {group: {use: classification, reads: image}}
golden: 2
training:
  epochs: 3
  batch_size: 32
  optimizer: {use: adamw, learning_rate: {between: [0.0005, 0.05], log: true}}
"""
PATIENCE_SECONDS = 300

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def searched(road, tmp_path_factory):
    """A folder with a config, examples whose test split was removed, and an output with two finished trials."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "open.yaml").write_text(road.config.read_text().partition("  width:")[0].rstrip("\n") + OPEN)
    shutil.copytree(road.examples, folder / "examples")
    assert any((folder / "examples" / "examples" / "test").iterdir())
    shutil.rmtree(folder / "examples" / "examples" / "test")
    assert run(*command(folder, "out")) == 0
    return folder


def command(folder, output):
    return ("tune", folder / "open.yaml", "--examples", folder / "examples", "--output", folder / output, "--trials", 2)


def told(output):
    about = json.loads((output / "trials.json").read_text())
    return [{key: value for key, value in trial.items() if key != "seconds"} for trial in about["trials"]]


def test_the_best_config_trains_the_model_of_the_best_trial(searched, tmp_path, capsys):
    about = json.loads((searched / "out" / "trials.json").read_text())
    best = about["trials"][about["best"] - 1]
    more = ("--examples", searched / "examples")
    assert run("train", searched / "out" / "best.yaml", *more, "--output", tmp_path / "model") == 0
    capsys.readouterr()
    assert run("evaluate", tmp_path / "model", *more, "--split", "validation", "--json") == 0
    metrics = json.loads(capsys.readouterr().out)["heads"]["group"]
    assert best["value"] == metrics["accuracy"]
    assert best["measured"]["group.macro_f1"] == metrics["macro_f1"]
    assert best["measured"]["group.ece"] == metrics["ece"]
    kept = searched / "out" / "trials" / f"{best['trial']:04d}" / "model"
    assert mmstream.load(kept).fingerprint == mmstream.load(tmp_path / "model").fingerprint


def test_a_search_that_was_killed_goes_on_as_if_it_had_not_been(searched):
    output = searched / "killed"
    words = [sys.executable, "-m", "mmstream.cli", *map(str, command(searched, "killed"))]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    begun = output / "trials" / "0002" / "model" / "training" / "state.json"
    wait_for(begun.exists)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    wait_for(lambda: not children_of(output))
    assert not (output / "trials" / "0002" / "result.json").exists(), "it was killed within the trial"
    assert run(*command(searched, "killed")) == 0
    assert told(output) == told(searched / "out")
    assert (output / "best.yaml").read_bytes() == (searched / "out" / "best.yaml").read_bytes()


@pytest.mark.parametrize(("number", "word"), [(signal.SIGTERM, "ended by SIGTERM"), (signal.SIGINT, "interrupted")])
def test_a_signal_ends_the_search_with_one_message_and_the_best_so_far(searched, tmp_path, number, word):
    output = tmp_path / "out"
    shutil.copytree(searched / "out", output)
    words = [sys.executable, "-m", "mmstream.cli", *map(str, command(searched, "out"))]
    words[words.index(str(searched / "out"))] = str(output)
    process = subprocess.Popen([*words, "--trials", "3", "--quiet"], stderr=subprocess.PIPE, text=True)
    wait_for((output / "trials" / "0003" / "config.yaml").exists)
    process.send_signal(number)
    assert process.stderr is not None
    assert process.stderr.read() == f"mmstream: {word}; run the same command again to continue\n"
    assert process.wait() == 128 + number
    wait_for(lambda: not children_of(output))
    assert mmstream.load_config(str(output / "best.yaml"))
    assert [trial["state"] for trial in told(output)] == ["complete", "complete"]


def test_a_trial_whose_process_is_killed_has_failed(searched, tmp_path, monkeypatch):
    config = mmstream.load_config(str(searched / "out" / "best.yaml"))
    monkeypatch.setattr(trial_process.Children, "wait", killing(trial_process.Children.wait))
    outcome = trial_process.run(
        tmp_path / "0001", config, str(searched / "examples"), report=lambda row: False, seconds=None
    )
    assert outcome.state == "failed"
    assert "its process was ended by SIGKILL; is this machine short of memory?" in outcome.error


def test_a_trial_that_cannot_be_trained_says_why(searched, tmp_path):
    overrides = ["training.early_stopping={monitor: val_tags_loss}"]
    config = mmstream.load_config(str(searched / "out" / "best.yaml"), overrides)
    outcome = trial_process.run(
        tmp_path / "0001", config, str(searched / "examples"), report=lambda row: False, seconds=None
    )
    assert outcome.state == "failed"
    assert "there is no 'val_tags_loss'" in outcome.error


def killing(wait):
    """`Children.wait` that first kills the process."""

    def planted(self, process):
        os.killpg(process.pid, signal.SIGKILL)
        return wait(self, process)

    return planted


def children_of(output):
    """Processes of trials below an output."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = line.read_text().split("\0")
        except OSError:  # it has just ended
            continue
        if "mmstream.tuning.trial" in words and any(word.startswith(f"{output}/") for word in words):
            found.append(words)
    return found


def wait_for(condition):
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)
