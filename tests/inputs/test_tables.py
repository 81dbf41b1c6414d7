"""Tables: numbers, categories and tags as inputs and as targets, from the file to labels in their own unit."""

from __future__ import annotations

import csv
import json
import random

import pytest
from small_road import read_lines, read_rows, run

CONFIG = """
source: {use: csv, path: rows.csv, id: id}
fields:
  size:    {use: number, columns: [height, weight], missing: ["?"]}
  kind:    {use: category, columns: [colour, shape]}
  extras:  {use: tags, separator: ";"}
  price:   {use: number}
model:
  width: 16
  encoders: {size: {use: mlp, units: 16}, kind: {use: embedding, units: 8}, extras: {use: bag_of_tags, units: 8}}
  fusion: {use: concat}
  heads: {price: {use: regression, dropout: 0.0}}
golden: 2
training: {epochs: 30, batch_size: 32, optimizer: {use: adamw, learning_rate: 0.01}, modality_dropout: 0.1}
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A folder with rows whose price follows from the other columns, and a config."""
    folder, chosen = tmp_path_factory.mktemp("table"), random.Random(1)
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "height", "weight", "colour", "shape", "extras", "price"])
        for number in range(600):
            height, weight = chosen.uniform(100, 200), chosen.uniform(1, 9)
            colour, shape = chosen.choice(["red", "blue"]), chosen.choice(["round", "square", "flat"])
            extras = chosen.sample(["lid", "handle", "box"], chosen.randint(0, 3))
            price = 5 * height + 100 * (colour == "red") + 50 * len(extras) + 20 * weight
            shown = "?" if number % 11 == 0 else f"{weight:.2f}"
            writer.writerow([number, f"{height:.1f}", shown, colour, shape, ";".join(extras), f"{price:.2f}"])
        writer.writerow(["bad", "tall", "1", "red", "flat", "", "7"])
    (folder / "config.yaml").write_text(CONFIG)
    return folder


@pytest.mark.slow
def test_a_number_is_predicted_in_its_own_unit_from_a_table(table, tmp_path):
    config, made, model = table / "config.yaml", table / "examples", table / "model"
    assert run("preprocess", config, "--output", made) == 0
    (letter,) = read_lines(made / "dead_letters")
    assert (letter["id"], letter["field"], letter["message"]) == ("bad", "size", "expected a number; found 'tall'")
    assert run("train", config, "--examples", made, "--output", model) == 0
    assert run("evaluate", model, "--examples", made) == 0
    metrics = json.loads((model / "evaluation" / "test" / "metrics.json").read_text())["heads"]["price"]
    assert metrics["r2"] > 0.9
    assert run("label", model, "--input", table / "rows.csv", "--output", tmp_path / "out") == 0
    with (table / "rows.csv").open() as file:
        wanted = {row["id"]: float(row["price"]) for row in csv.DictReader(file)}
    rows = read_rows(tmp_path / "out")
    errors = [abs(row["price"] - wanted[row["id"]]) for row in rows]
    assert len(rows) == 600
    assert sum(errors) / len(errors) < 40
    assert sum(row["price_score"] for row in rows) / len(rows) == pytest.approx(sum(errors) / len(errors), rel=1.0)


@pytest.mark.slow
def test_a_rerun_on_the_same_table_finds_everything_done(table, tmp_path):
    for _ in range(2):
        assert run("preprocess", table / "config.yaml", "--output", tmp_path / "examples") == 0
    about = json.loads((tmp_path / "examples" / "preprocess.json").read_text())
    assert (about["read"], about["skipped"]) == (601, 601)
