"""Every config in examples/ is sound, and the data that it is for go all the way to labels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
from small_road import read_rows, run, write_manifest

from mmstream.config.loading import load_config
from mmstream.preprocessing.examples import ExampleWriter, serialise

EXAMPLES = Path(__file__).parents[2] / "examples"
CONFIGS = sorted(str(path.relative_to(EXAMPLES)) for path in EXAMPLES.glob("*/*.yaml"))
DATA = {
    "caption_and_tag/config.yaml": "emoji/manifest.jsonl",
    "digits/sign.yaml": "digits/sign.jsonl",
    "easy_vqa/config.yaml": "easy_vqa/manifest.jsonl",
    "emoji/config.yaml": "emoji/manifest.jsonl",
    "grocery/config.yaml": "grocery/manifest.jsonl",
    "nlvr/config.yaml": "nlvr_dev/manifest.jsonl",
    "products/config.yaml": "products/manifest.jsonl",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_sound(name):
    config = load_config(str(EXAMPLES / name))
    assert config.model.heads
    assert name in DATA or name == "digits/mnist.yaml"


def write_mnist(shared_data: Path, path: Path) -> None:
    """MNIST as Parquet, by the script that lies beside its config."""
    files = [shared_data / "digits" / f"mnist-first2000-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
    subprocess.run([sys.executable, EXAMPLES / "digits" / "mnist.py", *files, path], check=True)


def write_sample(source: Path, folder: Path, count: int) -> Path:
    """The first rows of a manifest or table, media by absolute paths."""
    sample = folder / f"sample{source.suffix}"
    if source.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.parquet.read_table(source).slice(0, count), sample)
        return sample
    rows = [json.loads(line) for line in source.read_text().splitlines()[:count]]
    return write_manifest(sample, [{**row, "image": str(source.parent / row["image"])} for row in rows])


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_trains_and_labels(name, shared_data, tmp_path):
    source = tmp_path / "mnist.parquet" if name == "digits/mnist.yaml" else shared_data / DATA[name]
    if not source.exists():
        write_mnist(shared_data, source)
    config, examples, model, labelled = EXAMPLES / name, *(tmp_path / n for n in ("examples", "model", "labelled"))
    override = ("--tiny", "--set", f"source.path={source}")
    assert run("preprocess", config, "--output", examples, *override) == 0
    assert run("train", config, "--examples", examples, "--output", model, *override) == 0
    sample = write_sample(source, tmp_path, 50)
    assert run("label", model, "--input", sample, "--root", source.parent, "--output", labelled) == 0
    about = json.loads((labelled / "label.json").read_text())
    assert (about["read"], about["labelled"]) == (50, 50)
    for head in load_config(str(config)).model.heads:
        assert all(row[head] is not None for row in read_rows(labelled))


def test_accuracy_is_told_by_kind_of_question(tmp_path):
    rows = [
        {"question": "what color is the shape?", "answer": "red"},
        {"question": "what is the red shape?", "answer": "circle"},
        {"question": "is there not a circle?", "answer": "no"},
        {"question": "is there a red shape?", "answer": "yes"},
        {"question": "is a circle present?", "answer": "yes"},
    ]
    manifest = write_manifest(tmp_path / "questions.jsonl", rows)
    held_out = [f"questions.jsonl:{number}" for number in range(1, 5)]
    with ExampleWriter(tmp_path / "examples" / "examples" / "test" / "part-00000.tfrecord.gz") as writer:
        for name in held_out:
            writer.write(serialise({}, 0, {"_id": name}))
    (tmp_path / "labels").mkdir()
    answers = ["red", "square", "no", "no", "no"]
    labels = [{"id": f"questions.jsonl:{n}", "answer": answer} for n, answer in enumerate(answers, 1)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(labels), tmp_path / "labels" / "part-00000.parquet")
    command = [sys.executable, EXAMPLES / "easy_vqa" / "kinds.py", manifest, tmp_path / "examples", tmp_path]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert [line.split("  ")[0] for line in printed.splitlines()][-1] == "all"
    found = {line[:20].strip(): line[21:] for line in printed.splitlines()}
    assert found == {
        "colour": "1.000 of 1",
        "shape": "0.000 of 1",
        "yes or no: not there": "1.000 of 1",
        "yes or no: there": "0.000 of 1",
        "all": "0.500 of 4",
    }
