"""Values that a file writes otherwise than the one that was trained on: the same labels, or a warning."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from small_road import read_rows, run

import mmstream
from mmstream.storage import files
from mmstream.trained_model import model_files

CONFIG = """
source: {use: csv, path: train.csv, id: id}
split: {validation: 0.2}
fields:
  flags: {use: category, columns: [member, level]}
  marks: {use: tags, separator: ";"}
  answer: {use: category}
model:
  width: 16
  encoders: {flags: {use: embedding}, marks: {use: bag_of_tags}}
  heads: {answer: {use: classification, reads: [flags, marks]}}
  fusion: {use: concat}
training: {epochs: 12, batch_size: 16}
golden: 2
"""


def rows(count: int = 160):
    chance = random.Random(0)
    for number in range(count):
        member, level = chance.random() < 0.5, chance.randint(1, 3)
        yield {"id": f"r{number}", "member": member, "level": level, "answer": "yes" if member and level > 1 else "no"}


def write_csv(path: Path, wanted) -> Path:
    """As pandas writes truth values, and whole numbers where one is missing."""
    lines = [
        f"{r['id']},{r['member']},{float(r['level'])},{r['member']};{float(r['level'])},{r['answer']}" for r in wanted
    ]
    path.write_text("\n".join(["id,member,level,marks,answer", *lines]) + "\n")
    return path


def write_parquet(path: Path, wanted) -> Path:
    typed = [{**row, "marks": f"{str(row['member']).lower()};{row['level']}"} for row in wanted]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(typed), path)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a model of categories that was trained on CSV."""
    folder = tmp_path_factory.mktemp("skew")
    write_csv(folder / "train.csv", rows())
    (folder / "config.yaml").write_text(CONFIG)
    assert run("preprocess", folder / "config.yaml", "--output", folder / "examples") == 0
    made = ("train", folder / "config.yaml", "--examples", folder / "examples", "--output", folder / "model")
    assert run(*made) == 0
    return folder


def labels(model, source, output):
    assert run("label", model, "--input", source, "--output", output) == 0
    return [(row["id"], row["answer"], row["answer_score"]) for row in read_rows(output)]


def test_typed_values_get_the_labels_that_their_texts_get(trained, tmp_path):
    from_csv = labels(trained / "model", write_csv(tmp_path / "new.csv", rows()), tmp_path / "csv")
    from_parquet = labels(trained / "model", write_parquet(tmp_path / "new.parquet", rows()), tmp_path / "parquet")
    assert from_parquet == from_csv
    given = [{**row, "marks": f"{row['member']};{row['level']}"} for row in rows()]
    in_python = mmstream.load(trained / "model").label(given)
    assert [row["answer"] for row in in_python] == [row["answer"] for row in given]
    wanted = sorted((row["id"], row["answer"]) for row in rows())
    assert [(key, answer) for key, answer, _ in from_csv] == wanted


STRANGE = {"member": {True: "ja", False: "nein"}, "level": {1: "1", 2: "2", 3: "3"}}


def write_strange(path: Path, count: int) -> Path:
    """Rows whose column `member` and whose first mark are of another language."""
    found = [{name: words[row[name]] for name, words in STRANGE.items()} | {"id": row["id"]} for row in rows(count)]
    lines = [f"{row['id']},{row['member']},{row['level']},{row['member']};{row['level']}" for row in found]
    path.write_text("\n".join(["id,member,level,marks", *lines]) + "\n")
    return path


def test_a_column_of_unknown_values_is_told_and_stands_in_the_summary(trained, tmp_path, capsys):
    source = write_strange(tmp_path / "new.csv", 60)
    capsys.readouterr()
    labels(trained / "model", source, tmp_path / "labelled")
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert len(said) == 1
    assert "warning: 60 of 60 values in member (field flags) are unknown to the model, such as" in said[0]
    assert "'member=ja'" in said[0]
    assert said[0].count("'member=true'") == said[0].count("'member=false'") == 1
    found = json.loads((tmp_path / "labelled" / "label.json").read_text())["lookups"]
    assert found["flags"]["level"] == {"values": 60, "unknown": 0, "examples": [], "vocabulary": []}
    assert (found["flags"]["member"]["values"], found["flags"]["member"]["unknown"]) == (60, 60)
    assert sorted(found["flags"]["member"]["examples"]) == ["member=ja", "member=nein"]
    assert (found["marks"]["marks"]["values"], found["marks"]["marks"]["unknown"]) == (120, 60)  # half is not most
    labels(trained / "model", source, tmp_path / "labelled")  # all is kept: nothing is looked up
    assert "warning" not in capsys.readouterr().err
    assert "lookups" not in json.loads((tmp_path / "labelled" / "label.json").read_text())


def test_a_preview_tells_it_too_and_few_values_say_nothing(trained, tmp_path, capsys):
    source = write_strange(tmp_path / "new.csv", 60)
    for count, told in ((20, 1), (19, 0)):
        assert run("label", trained / "model", "--input", source, "--preview", count) == 0
        assert capsys.readouterr().err.count("values in member (field flags) are unknown") == told


def of_format_4(model: Path, to: Path) -> Path:
    """A model as an mmstream of format 4 wrote it: the same files, with a vocabulary of that time."""
    shutil.copytree(model, to)
    vocabulary = to / "transform" / "transform_fn" / "assets" / "flags"
    then = {"true": "True", "false": "False", "1": "1.0", "2": "2.0", "3": "3.0"}
    terms = [line.split("=") for line in vocabulary.read_text().splitlines()]
    vocabulary.write_text("".join(f"{column}={then[value]}\n" for column, value in terms))
    about = json.loads((to / "model.json").read_text())
    del about["checksums"], about["origins"]
    model_files.write_model_json(str(to), {**about, "format": 4, "golden": 0})
    return to


def test_a_model_of_format_4_keeps_the_spelling_that_it_was_trained_with(trained, tmp_path):
    old = of_format_4(trained / "model", tmp_path / "old")
    source = write_csv(tmp_path / "new.csv", rows())
    model = mmstream.load(old)
    decoded = model.preprocessor.decode({"flags": ["True", "2.0"], "marks": "True;2.0"})
    assert decoded["flags"]["value"] == ["member=True", "level=2.0"]
    assert decoded["marks"]["values"] == ["True", "2.0"]
    assert not model.is_weakly_bound
    now = mmstream.load(trained / "model")
    assert now.preprocessor.decode({"flags": ["True", "2.0"]})["flags"]["value"] == ["member=true", "level=2"]
    assert model.fingerprints["config"] == now.fingerprints["config"]
    by_flags = [answer for _, answer, _ in labels(old, source, tmp_path / "labelled")]
    assert len(set(by_flags)) == 2


def test_examples_that_were_made_before_there_was_one_spelling_are_not_trained_on(trained, tmp_path, capsys):
    shutil.copytree(trained / "examples", tmp_path / "examples")
    about = json.loads((tmp_path / "examples" / "preprocess.json").read_text())
    for name in ("flags", "marks", "answer"):
        assert about["fields"][name].pop("spelling") == "canonical"
    files.write_bytes(str(tmp_path / "examples" / "preprocess.json"), json.dumps(about).encode())
    made = ("train", trained / "config.yaml", "--examples", tmp_path / "examples", "--output", tmp_path / "model")
    assert run(*made) == 1
    assert "were made with different settings for the fields answer, flags, marks" in capsys.readouterr().err


def test_a_config_may_keep_texts_as_they_are_written(trained, tmp_path, capsys):
    config = ("preprocess", trained / "config.yaml", "--output", tmp_path / "examples")
    assert run(*config, "--set", "fields.flags.spelling=as_written") == 0
    vocabulary = tmp_path / "examples" / "transform" / "transform_fn" / "assets" / "flags"
    assert sorted(vocabulary.read_text().split()) == [
        "level=1.0",
        "level=2.0",
        "level=3.0",
        "member=False",
        "member=True",
    ]
    assert run(*config[:2], "--set", "fields.flags.spelling=as written", *config[2:]) == 1
    assert "spelling" in capsys.readouterr().err
