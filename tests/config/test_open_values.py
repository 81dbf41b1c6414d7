"""Open values: where they may stand, how each candidate is checked, and what commands other than `tune` say of them."""

from __future__ import annotations

import re

import pytest
from small_road import run

from mmstream.config.loading import load_config
from mmstream.config.open_config import load_open_config
from mmstream.config.open_values import close, combinations, variants
from mmstream.errors import ConfigError

CONFIG = """
source: {use: jsonl, path: rows.jsonl, id: id}
fields:
  image: {use: image, size: [16, 16]}
  group: {use: category}
model:
  width: 16
  encoders:
    image: {use: cnn, filters: [8]}
  heads: {group: {use: classification, reads: image}}
training:
  epochs: 2
"""


@pytest.fixture
def config(tmp_path):
    """Writes a config in which the values of some keys are replaced; returns its path."""

    def write(**lines):
        text = CONFIG
        for key, value in lines.items():
            text = re.sub(rf"^( *{key}):.*$", rf"\1: {value}", text, count=1, flags=re.M)
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return str(path)

    return write


def problems(path, *overrides, load=load_open_config):
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ({"width": "{any: [16, x]}"}, "line 7, model.width.any[1]: expected an integer; found 'x'"),
        ({"width": "{between: [8, 32.0]}"}, "line 7, model.width: expected an integer"),
        ({"width": "{between: [-4, 32]}"}, "line 7, model.width: must be greater than 0; found -4"),
        ({"width": "{between: [32, 8]}"}, "line 7, model.width.between: expected two numbers, the smaller one first"),
        ({"width": "{between: [0, 8], log: true}"}, "line 7, model.width.between: expected numbers above 0"),
        ({"width": "{between: [4, 8], log: 1}"}, "line 7, model.width.log: expected true or false; found 1"),
        ({"width": "{between: [4, 8], lgo: true}"}, "line 7, model.width.lgo: unknown key 'lgo' beside `between`. Did"),
        ({"width": "{any: [16]}"}, "line 7, model.width.any: expected a list of at least two values; found [16]"),
        ({"width": "{any: [16, 16]}"}, "line 7, model.width.any[1]: 16 is given twice"),
        ({"epochs": "{any: [2, 0]}"}, "line 12, training.epochs.any[1]: must be greater than 0; found 0"),
    ],
)
def test_each_candidate_is_checked_as_a_value_would_be(config, lines, message):
    assert message in problems(config(**lines))


def test_candidates_inside_candidates_are_checked_and_all_problems_are_listed(config):
    nested = "model.encoders.image={any: [{use: cnn, filters: [{any: [8, a]}]}, {use: cnnn}, {use: vit, layer: 2}]}"
    found = problems(config(width="{any: [16, 0]}"), nested)
    assert "has 4 problems" in found
    assert "--set model.encoders.image.any[0].filters[0].any[1]: expected an integer; found 'a'" in found
    assert "--set model.encoders.image.any[1].use: no encoder is called 'cnnn'. Did you mean 'cnn'?" in found
    assert "--set model.encoders.image.any[2].layer: 'vit' takes no parameter 'layer'" in found


@pytest.mark.parametrize("key", ["source.limit", "split.test", "fields.image.size", "golden"])
def test_nothing_that_examples_depend_on_can_be_open(config, key):
    found = problems(config(width="{any: [8, 16]}"), f"{key}={{any: [1, 2]}}")
    assert f"--set {key}: " in found
    assert "only values in `model` and `training` can be: examples are made before a search begins" in found
    assert "is open" in problems(config(), f"{key}={{any: [1, 2]}}", load=load_config)


def test_a_config_without_open_values_is_nothing_to_search_in(config):
    assert "is open, so there is nothing to search for" in problems(config())


def test_parts_may_be_called_any_and_between(config):
    overrides = [
        "fields.any={use: category}",
        "fields.between={use: category}",
        "model.heads={any: {use: classification, reads: image}, between: {use: classification, reads: image}}",
    ]
    assert set(load_config(config(), overrides).model.heads) == {"any", "between"}


def test_other_commands_say_what_open_values_are_for(config, tmp_path, capsys):
    path = config(width="{any: [8, 16]}")
    for command in (["train", path, "--examples", tmp_path, "--output", tmp_path / "m"], ["describe", path]):
        assert run(*command) == 1
        assert 'line 7, model.width: {"any": [8, 16]} is open: `mmstream tune` searches' in capsys.readouterr().err


def test_preprocess_takes_the_first_candidates(config):
    path = config(width="{any: [8, 16]}", epochs="{between: [2, 5]}")
    taken = load_config(path, open_values="first")
    assert (taken.model.width, taken.training.epochs) == (8, 2)
    assert "expected an integer" in problems(config(width="{any: [x, 8]}"), load=load_open_config)


def test_check_accepts_a_config_whose_candidates_all_fit(config, capsys):
    assert run("check", config(width="{any: [8, 16]}")) == 0
    assert "is valid; 1 value is open, for `mmstream tune`" in capsys.readouterr().err
    assert run("check", config(width="{any: [8, 0]}")) == 1


def test_every_candidate_occurs_in_a_variant_and_every_combination_is_listed():
    data = {"a": {"any": [1, {"b": {"any": ["x", "y"]}}]}, "c": {"between": [2, 4]}}
    assert [each.data for each in variants(data)] == [
        {"a": 1, "c": 2},
        {"a": {"b": "x"}, "c": 2},
        {"a": 1, "c": 4},
        {"a": {"b": "y"}, "c": 2},
    ]
    listed = combinations(data, 100)
    assert listed is not None
    assert len(listed) == 9
    assert [close(data, lambda one, each=each: each[one.path]).choices for each in listed] == listed
    assert combinations(data, 8) is None
    assert combinations({"a": {"between": [0.1, 0.2]}}, 100) is None
