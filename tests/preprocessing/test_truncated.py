"""Texts that are longer than their field: preprocess warns of them, and describe shows them."""

from __future__ import annotations

import json

import pytest
from small_road import run, write_manifest

CONFIG = """
source: {{use: jsonl, path: {manifest}, id: id}}
split: {{column: split}}
fields:
  text:  {{use: text, length: 4}}
  note:  {{use: text, length: 6}}
  label: {{use: category}}
model:
  width: 8
  encoders: {{text: {{use: bag_of_words}}, note: {{use: bag_of_words}}}}
  fusion: {{use: concat}}
  heads: {{label: {{use: classification}}}}
"""


@pytest.fixture(scope="module")
def preprocessed(tmp_path_factory):
    """Of five texts in training, one is absent, one is short, one fits, and two have two words too many."""
    folder = tmp_path_factory.mktemp("truncated")
    counts = (0, 3, 4, 6, 6)
    rows = []
    for n in range(50):
        text = " ".join(["word"] * counts[n % 5]) or None
        split = "train" if n < 30 else ("validation", "test")[n % 2]
        if split != "train":
            text = "many more words than the field can ever hold"  # only the training split is analysed
        rows.append({"id": f"r{n}", "split": split, "text": text, "note": "猫犬鳥" * (n % 2 + 1), "label": "ab"[n % 2]})
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(manifest=write_manifest(folder / "rows.jsonl", rows)))
    return config, folder / "examples"


def test_preprocess_warns_if_many_values_are_truncated(preprocessed, capsys):
    config, examples = preprocessed
    assert run("preprocess", config, "--output", examples) == 0
    said = capsys.readouterr().err
    assert (
        "fields.text: 50% of the training split's values are too long, so 21% of the field's training data is cut off"
        in said
    )
    assert not any("fields.note" in line and "too long" in line for line in said.splitlines())


def test_describe_shows_how_much_is_truncated(preprocessed, capsys):
    config, examples = preprocessed
    assert run("describe", config, "--examples", examples, "--json") == 0
    truncated = json.loads(capsys.readouterr().out)["truncated"]
    assert truncated["text"] == pytest.approx({"values": 2 / 4, "elements": 4 / 19})
    assert truncated["note"] == {"values": 0, "elements": 0}
    assert run("describe", config, "--examples", examples) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["text", "50.0%", "21.1%"] in lines
    assert run("describe", config) == 0
    assert "cut off" not in capsys.readouterr().out
