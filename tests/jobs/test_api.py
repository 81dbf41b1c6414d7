"""The jobs as Python functions: they do what the commands do, return the books, and print nothing."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import keras
import pytest
from small_road import COMMITTED, read_rows, run, snapshot

import mmstream


def test_label_files_does_what_the_command_does_and_returns_the_books(road, tmp_path):
    manifest = road.folder / "data" / "sample.jsonl"
    books = mmstream.label_files(road.model, input=manifest, output=tmp_path / "api", sink="jsonl", threads=2)
    command = ("label", road.model, "--input", manifest, "--output", tmp_path / "command", "--sink", "jsonl")
    assert run(*command) == 0
    assert snapshot(tmp_path / "api", *COMMITTED) == snapshot(tmp_path / "command", *COMMITTED)
    assert books == json.loads((tmp_path / "api" / "label.json").read_text())
    assert books["read"] == books["labelled"] + books["dead_lettered"] + books["skipped"] > 0


@pytest.mark.slow
def test_preprocess_train_and_evaluate_return_what_the_commands_write(road, tmp_path):
    config = mmstream.load_config(str(road.config), tiny=True)
    books = mmstream.preprocess(config, output=str(tmp_path / "examples"))
    assert books == json.loads((tmp_path / "examples" / "preprocess.json").read_text())
    model = mmstream.train(config, examples=str(tmp_path / "examples"), output=str(tmp_path / "model"))
    assert model.history()
    metrics = mmstream.evaluate(mmstream.load(tmp_path / "model"), examples=tmp_path / "examples", split="train")
    assert metrics["retrieval"], "measured, although the model was loaded without embeddings"
    assert metrics == json.loads((tmp_path / "model" / "evaluation" / "train" / "metrics.json").read_text())


def test_columns_and_roots_mean_what_the_flags_mean(road, tmp_path):
    rows = [json.loads(line) for line in (road.folder / "data" / "sample.jsonl").read_text().splitlines()[:5]]
    manifest = tmp_path / "others" / "rows.jsonl"
    manifest.parent.mkdir()
    manifest.write_text("".join(json.dumps({"id": row["id"], "path": row["image"]}) + "\n" for row in rows))
    given = {"input": str(manifest), "output": str(tmp_path / "out"), "columns": {"image": "path"}}
    mmstream.label_files(str(road.model), **given, roots=[str(road.folder / "data")])
    assert {row["id"] for row in read_rows(tmp_path / "out")} <= {row["id"] for row in rows}
    with pytest.raises(mmstream.MmstreamError, match="no column"):
        mmstream.label_files(str(road.model), **{**given, "columns": {"picture": "path"}})


def test_a_program_of_ones_own_prints_nothing(road, tmp_path):
    code = (
        "import mmstream, sys\n"
        "model, manifest, output = sys.argv[1:]\n"
        "books = mmstream.label_files(model, input=manifest, output=output)\n"
        "assert books['labelled'] > 0, books\n"
    )
    manifest = road.folder / "data" / "sample.jsonl"
    command = [sys.executable, "-c", code, str(road.model), str(manifest), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "dead lettered" not in done.stderr


@pytest.mark.slow
def test_a_job_leaves_the_process_as_it_was(road, tmp_path):
    before, policy = dict(os.environ), keras.config.dtype_policy().name
    mmstream.label_files(road.model, input=road.folder / "data" / "sample.jsonl", output=tmp_path / "labels")
    assert os.environ == before
    config = mmstream.load_config(str(road.config), ["training.precision=mixed_bfloat16"], tiny=True)
    model = mmstream.train(config, examples=road.examples, output=tmp_path / "model")
    assert model.network.get_layer("encoders_image").compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == policy == "float32"


def test_what_a_job_says_goes_to_the_logger_where_no_command_runs(caplog, monkeypatch, capsys):
    from mmstream import terminal

    monkeypatch.setattr(terminal, "_mode", None)
    with caplog.at_level(logging.INFO, logger="mmstream"):
        terminal.say("done")
        terminal.warn("look \x1b[2J here")
        terminal.fail("lost")
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "done"),
        ("WARNING", "look \\x1b[2J here"),
        ("ERROR", "lost"),
    ]
    assert capsys.readouterr() == ("", "")
