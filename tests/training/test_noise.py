"""A field of noise beside an informative one must not spoil what is predicted."""

from __future__ import annotations

import numpy as np
import pytest
from small_road import write_manifest

import mmstream

CONFIG = """
source: {{use: jsonl, path: {manifest}, id: id}}
split: {{column: split}}
fields:
  text:  {{use: text, length: 24, ngrams: 20000}}
  noise: {{use: number, columns: [n0, n1, n2, n3, n4, n5, n6, n7]}}
  guess: {{use: category}}
  topic: {{use: category}}
model:
  width: 32
  wide: true
  encoders: {encoders}
  heads: {{topic: {{use: classification, reads: {reads}}}}}
  {fusion}
training: {{epochs: 15, batch_size: 64, early_stopping: {{patience: 5}}}}
"""
TEXT_ALONE = {"encoders": "{text: {use: ngrams}}", "reads": "text", "fusion": ""}
WITH_NOISE = {
    "encoders": "{text: {use: ngrams}, noise: {use: mlp}, guess: {use: embedding}}",
    "reads": "fused",
    "fusion": "fusion: {use: late}\n  auxiliary: 0.3",
}


@pytest.fixture(scope="module")
def rows():
    """Texts whose words are only a little more frequent in one topic than in another, beside random values."""
    random = np.random.default_rng(2)
    words = [f"{a}{b}{c}" for a in "bdgklm" for b in "aeiou" for c in "nrst"]
    shares = 0.25 * random.dirichlet(np.full(len(words), 0.5), 5) + 0.75 / len(words)
    found = []
    for n in range(2000):
        topic = int(random.integers(5))
        row = {"id": f"r{n}", "split": "train" if n < 1000 else "validation" if n < 1300 else "test"}
        row |= {"topic": f"t{topic}", "text": " ".join(random.choice(words, 20, p=shares[topic]))}
        found.append(row | {"guess": f"g{random.integers(100)}"} | {f"n{k}": float(random.normal()) for k in range(8)})
    return found


@pytest.mark.slow
def test_noise_costs_at_most_a_hundredth(rows, tmp_path):
    accuracy, manifest = [], write_manifest(tmp_path / "rows.jsonl", rows)
    for name, parts in {"alone": TEXT_ALONE, "noise": WITH_NOISE}.items():
        config = tmp_path / f"{name}.yaml"
        config.write_text(CONFIG.format(manifest=manifest, **parts))
        if not accuracy:
            mmstream.preprocess(config, output=tmp_path / "examples")
        model = mmstream.train(config, examples=tmp_path / "examples", output=tmp_path / name)
        metrics = mmstream.evaluate(model, examples=tmp_path / "examples", baselines="none", check_labels=0)
        accuracy.append(metrics["heads"]["topic"]["accuracy"])
    assert accuracy[0] > 0.5, "one in five by chance"
    assert accuracy[1] >= accuracy[0] - 0.01
