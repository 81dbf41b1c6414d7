"""A config is read with all of its problems at once, each with its line and what to do; nothing else is ever raised."""

from __future__ import annotations

import contextlib
import copy
import io
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from mmstream.config import loading
from mmstream.config.loading import load_config
from mmstream.config.schema import Config, parse_config
from mmstream.config.yaml_lines import read_yaml
from mmstream.errors import ConfigError

EMOJI = Path(__file__).parents[2] / "examples" / "emoji" / "config.yaml"
SOUND = """\
source: {use: jsonl, path: manifest.jsonl, id: id}
split: {validation: 0.1, test: 0.1}
fields:
  image: {use: image, size: [48, 48]}
  text: {use: text, length: 16}
  keywords: {use: tags, min_count: 4}
  group: {use: category}
model:
  width: 16
  encoders:
    image: {use: cnn}
    text: {use: gru}
  fusion: {use: concat}
  heads:
    keywords: {use: tagging, reads: image}
    group: {use: classification, weight: 0.5}
  objectives:
    align: {use: contrastive, fields: [image, text]}
golden: 4
training:
  epochs: 2
  optimizer: {use: adamw, learning_rate: 0.001}
"""


@pytest.fixture
def load(tmp_path):
    """Reads a config; by default without importing Keras, that is without the network's parts."""

    def load(text, overrides=(), **options):
        path = tmp_path / "config.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        return load_config(str(path), overrides, **{"network": False, **options})

    return load


@pytest.fixture
def problems(load):
    """The problems of a config, one a line, as a user reads them."""

    def problems(text, overrides=(), **options):
        with pytest.raises(ConfigError) as error:
            load(text, overrides, **options)
        first, *rest = str(error.value).split("\n")
        count = re.search(r"has (\d+) problems?:$", first)
        assert not count or int(count[1]) == len(rest)
        return [line.removeprefix("  ") for line in rest] or [first]

    return problems


def changed(old, new):
    assert SOUND.count(old) == 1, old
    return SOUND.replace(old, new)


def test_a_sound_config_is_read_with_its_defaults_filled_in(load, tmp_path):
    config = load(SOUND)
    assert config.source.path == str(tmp_path / "manifest.jsonl")
    assert config.fields["image"].parameters == {"size": [48, 48]}
    assert config.fields["image"].column == "image"
    assert config.model.heads["group"].target == "group"
    assert config.reads(config.model.heads["group"]) == ("image", "text")
    assert config.training.batch_size == 64


def test_the_config_of_the_demo_is_sound():
    assert load_config(str(EMOJI), network=False).model.width == 128


def test_paths_are_relative_to_the_file(load, tmp_path):
    text = changed("path: manifest.jsonl", "path: ../in.jsonl, roots: [media, /data, 'gs://bucket/x']")
    source = load(text).source
    assert Path(source.path).resolve() == (tmp_path / ".." / "in.jsonl").resolve()
    assert source.roots == [str(tmp_path / "media"), "/data", "gs://bucket/x"]


# Structure

WRONG_STRUCTURE = {
    "a misspelt key": (
        "epochs: 2",
        "epohcs: 2",
        "line 21, training.epohcs: unknown key 'epohcs'. Did you mean 'epochs'?",
    ),
    "a misspelt key in a flow mapping": (
        "use: jsonl, path: manifest.jsonl, id: id}",
        "use: jsonl,\n  path: manifest.jsonl, rots: []}",
        "line 2, source.rots: 'jsonl' takes no parameter 'rots'",
    ),
    "a misspelt section": ("golden: 4", "gloden: 4", "line 19, gloden: unknown key 'gloden'. Did you mean 'golden'?"),
    "text for a number": ("epochs: 2", "epochs: many", "line 21, training.epochs: expected an integer; found 'many'"),
    "yes is a text": ("epochs: 2", "epochs: yes", "line 21, training.epochs: expected an integer; found 'yes'"),
    "true is not a number": ("epochs: 2", "epochs: true", "line 21, training.epochs: expected an integer; found true"),
    "a fraction": ("epochs: 2", "epochs: 2.5", "line 21, training.epochs: expected an integer; found 2.5"),
    "nothing": ("epochs: 2", "epochs:", "line 21, training.epochs: expected an integer; found null"),
    "too small": ("epochs: 2", "epochs: 0", "line 21, training.epochs: must be greater than 0; found 0"),
    "too large": ("golden: 4", "golden: 65", "line 19, golden: must be less than or equal to 64; found 65"),
    "far too large": (
        "epochs: 2",
        f"epochs: {10**20}",
        f"line 21, training.epochs: must be less than {2**31}; found 1",
    ),
    "too long to be a number": ("epochs: 2", f"epochs: {'9' * 5000}", "line 21, training.epochs: '9999"),
    "infinite": (
        "weight: 0.5",
        "weight: .inf",
        "line 16, model.heads.group.weight: .inf is not a finite number",
    ),
    "no number": (
        "weight: 0.5",
        "weight: .nan",
        "line 16, model.heads.group.weight: .nan is not a finite number",
    ),
    "a choice": (
        "epochs: 2",
        "schedule: cosin",
        "line 21, training.schedule: must be 'cosine' or 'constant'; found 'cosin'",
    ),
    "an empty text": ("id: id", "id: ''", "line 1, source.id: expected text that is not empty; found ''"),
    "a list for keys": (
        "use: category}",
        "use: category}\n  x: [1]",
        "line 8, fields.x: expected keys and values; found [1]",
    ),
    "a null section": (
        "split: {validation: 0.1, test: 0.1}",
        "split:",
        "line 2, split: expected keys and values; found null",
    ),
    "a null component": ("{use: category}", "", "line 7, fields.group: expected keys and values; found null"),
    "no use": ("use: category", "min_count: 3", "line 7, fields.group.use: is missing"),
    "a use that is no text": (
        "use: category",
        "use: [category]",
        'line 7, fields.group.use: expected text; found ["category"]',
    ),
    "an item of a list": ("id: id", "id: id, roots: [a,\n b, 3]", "line 2, source.roots[2]: expected text; found 3"),
    "splits that leave nothing": (
        "test: 0.1",
        "test: 0.9",
        "line 2, split: validation + test leave nothing to train on",
    ),
    "a share of one": ("test: 0.1", "test: 1.0", "line 2, split.test: must be less than 1; found 1.0"),
    "given splits and a group": (
        "{validation: 0.1, test: 0.1}",
        "{column: subset, group: author}",
        "line 2, split: `column` sets the splits; it cannot be combined with `group`, `validation`, `test` or",
    ),
    "given splits and a share": (
        "{validation: 0.1, test: 0.1}",
        "{column: subset, test: 0.1}",
        "line 2, split: `column` sets the splits; it cannot be combined with `group`, `validation`, `test` or",
    ),
    "a long value is cut": (
        "golden: 4",
        f"golden: {'x' * 500}",
        f"line 19, golden: expected an integer; found '{'x' * 78}…",
    ),
}


@pytest.mark.parametrize(("old", "new", "expected"), WRONG_STRUCTURE.values(), ids=WRONG_STRUCTURE)
def test_what_is_wrong_is_named_once_with_its_line_its_path_and_what_was_found(problems, old, new, expected):
    found = problems(changed(old, new))
    assert [line[: len(expected)] for line in found] == [expected]


@pytest.mark.parametrize("section", ["source", "fields", "model"])
def test_a_missing_section_is_named(problems, section):
    data = YAML(typ="safe").load(SOUND)
    del data[section]
    assert problems(dump(data)) == [f"{section}: is missing"]


def test_splits_by_hash_by_group_and_by_a_column(load):
    for split in (
        "{}",
        "{validation: 0, test: 0}",
        "{group: author}",
        "{group: author, test: 0.3}",
        "{column: subset}",
        "{test: 0.3, near: true}",
        "{group: author, near: [image, text]}",
    ):
        assert load(changed("{validation: 0.1, test: 0.1}", split)).split


def test_all_problems_are_found_at_once_and_sorted_by_line(problems):
    text = (
        SOUND.replace("use: category", "use: categry")
        .replace("width: 16", "width: x")
        .replace("    text: {use: gru}", "    txt: {use: gru}")
        .replace("epochs", "epohcs")
        .replace("length: 16", "lenght: 16")
    )
    assert [line.split(" ")[1:3] for line in problems(text, ["golden=no"])] == [
        ["golden:", "expected"],
        ["5,", "fields.text:"],
        ["5,", "fields.text.lenght:"],
        ["7,", "fields.group.use:"],
        ["9,", "model.width:"],
        ["12,", "model.encoders.txt:"],
        ["21,", "training.epohcs:"],
    ]


def test_a_misspelt_section_does_not_hide_the_problems_of_the_others(problems):
    text = SOUND.replace("model:", "modle:").replace("use: category", "use: categry").replace("epochs", "epohcs")
    found = problems(text)
    assert [line.split(": ")[0] for line in found] == [
        "model",
        "line 7, fields.group.use",
        "line 8, modle",
        "line 21, training.epohcs",
    ]


@settings(deadline=None)
@given(st.sets(st.sampled_from(["epochs", "validation", "golden", "width", "fusion", "weight", "length", "min_count"])))
def test_every_typing_error_is_reported_on_its_line(tmp_path_factory, misspelt):
    text, expected = SOUND, set()
    for key in misspelt - {"weight"}:
        text = re.sub(rf"\b{key}:", f"{key}x:", text)
        expected.add(next(n for n, line in enumerate(text.splitlines(), 1) if f"{key}x:" in line))
    path = tmp_path_factory.getbasetemp() / "misspelt.yaml"
    path.write_text(text)
    if not expected:
        load_config(str(path), network=False)
        return
    with pytest.raises(ConfigError) as error:
        load_config(str(path), network=False)
    lines = [int(n) for n in re.findall(r"^  line (\d+), \S+x: ", str(error.value), re.M)]
    assert lines == sorted(expected)


# Names and wiring

WRONG_WIRING = {
    "an encoder of no field": (
        "    text: {use: gru}",
        "    txt: {use: gru}",
        "line 12, model.encoders.txt: there is no field 'txt'. Did you mean 'text'? Available: group, image",
    ),
    "a head of no field": (
        "    group: {use",
        "    gruop: {use",
        "line 16, model.heads.gruop.target: there is no field 'gruop'. Did you mean 'group'?",
    ),
    "a target of no field": (
        "weight: 0.5",
        "target: gruop",
        "line 16, model.heads.group.target: there is no field 'gruop'. Did you mean 'group'?",
    ),
    "a head that reads no field": (
        "reads: image",
        "reads: img",
        "line 15, model.heads.keywords.reads: no encoder reads the field 'img'. Did you mean 'image'? Available: fused",
    ),
    "a head that reads what is not encoded": (
        "reads: image",
        "reads: group",
        "line 15, model.heads.keywords.reads: no encoder reads the field 'group'.",
    ),
    "one of a list": (
        "reads: image",
        "reads: [image, txt]",
        "line 15, model.heads.keywords.reads: no encoder reads the field 'txt'. Did you mean 'text'?",
    ),
    "a head that reads nothing": (
        "reads: image",
        "reads: []",
        "line 15, model.heads.keywords.reads: expected a field, a list of fields, or `fused`; found []",
    ),
    "a head that reads a number": (
        "reads: image",
        "reads: [image, 3]",
        'line 15, model.heads.keywords.reads: expected a field, a list of fields, or `fused`; found ["image", 3]',
    ),
    "a field read twice": (
        "reads: image",
        "reads: [image, image]",
        "line 15, model.heads.keywords.reads: a field is named twice; found",
    ),
    "fused in a list": (
        "reads: image",
        "reads: [fused, image]",
        "line 15, model.heads.keywords.reads: `fused` means all fields; it cannot be in a list",
    ),
    "no fusion": (
        "  fusion: {use: concat}\n",
        "",
        "line 15, model.heads.group.reads: it reads a fusion, but there is no model.fusion",
    ),
    "no encoder": (
        "    image: {use: cnn}\n    text: {use: gru}\n",
        "    {}\n",
        "line 10, model.encoders: name at least one encoder",
    ),
    "a leak": (
        "{use: category}",
        "{use: category, column: text}",
        "line 16, model.heads.group.reads: it reads 'text', the column that it predicts",
    ),
    "a leak of the field itself": (
        "reads: image",
        "reads: image, target: image",
        "line 15, model.heads.keywords.reads: it reads 'image', the column that it predicts",
    ),
}


@pytest.mark.parametrize(("old", "new", "expected"), WRONG_WIRING.values(), ids=WRONG_WIRING)
def test_what_does_not_fit_together_is_named_with_what_exists(problems, old, new, expected):
    found = problems(changed(old, new))
    assert found[0][: len(expected)] == expected
    assert len(found) == (2 if expected.endswith("name at least one encoder") else 1)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "size: [48, 48]}",
            "size: [48, 48], reference: 'p/x.png'}",
            "expected a path with one {}, where the value goes",
        ),
        (
            "length: 16}",
            "length: 16, reference: 'p/{}'}",
            "fields.text.reference: has no effect: 'text' reads no files",
        ),
    ],
)
def test_a_reference_has_one_place_for_the_value_and_is_of_a_field_that_reads_files(problems, old, new, expected):
    (problem,) = problems(changed(old, new))
    assert expected in problem


def test_where_a_file_lies_is_said_by_its_reference(load):
    field = load(changed("size: [48, 48]}", "size: [48, 48], reference: 'p/{}.png'}")).fields["image"]
    assert [field.media_reference(value) for value in (" a1 ", 7, b"x", None, True)] == [
        "p/a1.png",
        "p/7.png",
        b"x",
        None,
        True,
    ]


def test_a_network_with_nothing_to_train_is_a_problem(problems):
    text = SOUND[: SOUND.index("  heads:")] + SOUND[SOUND.index("golden") :]
    assert problems(text) == ["line 8, model: without heads or objectives there is nothing to train"]


@pytest.mark.parametrize(
    "name", ["Group", "2nd", "a-b", "a b", "id", "fused", "_id", "group_score", "gruppe_ä", "a.b", "''"]
)
def test_names_that_cannot_be_columns_or_are_taken(problems, name):
    expected = re.compile(r"line \d+, (fields|model\.heads)\.\S*.*: '.*' cannot be a name: use a-z, 0-9 and _")
    for old in ("  group: {use: category}", "    group: {use: classification"):
        new = old.replace("group", name) + (", target: group" if "classification" in old else "")
        text = changed(old, new) if "classification" in old else SOUND.replace(old, f"{old}\n{new}")
        [found] = problems(text)
        assert expected.match(found)


@pytest.mark.parametrize("name", ["embedding", "embedding_image"])
def test_a_head_may_not_take_the_column_of_an_embedding(problems, name):
    [found] = problems(changed("    group: {use", f"    {name}: {{target: group, use"))
    assert found.startswith(f"line 16, model.heads.{name}: '{name}' names a column of embeddings")
    assert name in found


def test_a_broken_field_is_not_also_reported_as_absent(problems):
    for broken in ("3", "{size: [48, 48]}", "{use: 3}", "null"):
        [found] = problems(changed("{use: image, size: [48, 48]}", broken))
        assert found.startswith("line 4, fields.image")


def test_warnings_name_what_has_no_effect(load):
    text = changed("  objectives:\n    align: {use: contrastive, fields: [image, text]}\n", "")
    assert loading.warnings(load(text)) == []
    alone = text.replace("weight: 0.5", "reads: image").replace("epochs: 2", "modality_dropout: 0.5")
    assert loading.warnings(load(alone)) == [
        "training.modality_dropout has no effect: nothing reads a fusion of two or more fields",
        "model.fusion has no effect: no head and no objective reads a fusion",
        "model.encoders.text: no head and no objective reads it",
    ]
    several = text.replace("weight: 0.5", "reads: [image, text]").replace("epochs: 2", "modality_dropout: 0.5")
    assert loading.warnings(load(several)) == []


# Parameters of components

WRONG_PARAMETERS = {
    "an unknown component": (
        "use: tags",
        "use: tag",
        "line 6, fields.keywords.use: no field is called 'tag'. Did you mean 'tags'?",
    ),
    "an unknown source": (
        "use: jsonl",
        "use: json",
        "line 1, source.use: no source is called 'json'. Did you mean 'jsonl'?",
    ),
    "an unknown parameter": (
        "min_count",
        "min_cuont",
        "line 6, fields.keywords.min_cuont: 'tags' takes no parameter 'min_cuont'. Did you mean 'min_count'?",
    ),
    "a missing parameter": (", size: [48, 48]", "", "line 4, fields.image: 'image' needs the parameter 'size'"),
    "too few sizes": ("[48, 48]", "[48]", "line 4, fields.image.size[1]: is missing"),
    "too many sizes": (
        "[48, 48]",
        "[48, 48, 3]",
        "line 4, fields.image.size: expected at most 2 values; found [48, 48, 3]",
    ),
    "a size below one": (
        "[48, 48]",
        "[48,\n 0]",
        "line 5, fields.image.size[1]: must be greater than or equal to 1; found 0",
    ),
    "a size that is no list": ("[48, 48]", "48", "line 4, fields.image.size: expected a list; found 48"),
    "a size in words": ("[48, 48]", "[48, wide]", "line 4, fields.image.size[1]: expected an integer; found 'wide'"),
    "a number in quotes": ("length: 16", "length: '16'", "line 5, fields.text.length: expected an integer; found '16'"),
    "a yes": (
        "length: 16",
        "length: 16, lowercase: yes",
        "line 5, fields.text.lowercase: expected true or false; found 'yes'",
    ),
}


@pytest.mark.parametrize(("old", "new", "expected"), WRONG_PARAMETERS.values(), ids=WRONG_PARAMETERS)
def test_parameters_are_checked_against_the_constructor(problems, old, new, expected):
    [found] = problems(changed(old, new))
    assert found[: len(expected)] == expected


WRONG_NETWORK = {
    "an unknown encoder": (
        "use: cnn",
        "use: cn",
        "line 11, model.encoders.image.use: no encoder is called 'cn'. Did you mean 'cnn'?",
    ),
    "an unknown fusion": (
        "use: concat",
        "use: conct",
        "line 13, model.fusion.use: no fusion is called 'conct'. Did you mean 'concat'?",
    ),
    "what the composer gives": (
        "use: cnn",
        "use: cnn, width: 3",
        "line 11, model.encoders.image.width: 'cnn' takes no parameter 'width'.",
    ),
    "a share above one": (
        "weight: 0.5",
        "dropout: 1.5",
        "line 16, model.heads.group.dropout: must be less than 1; found 1.5",
    ),
    "an objective on no field": (
        "[image, text]",
        "[image, txt]",
        "line 18, model.objectives.align.fields[1]: no encoder reads the field 'txt'. Did you mean 'text'?",
    ),
    "an objective on what is not encoded": (
        "[image, text]",
        "[image,\n text, group]",
        "line 19, model.objectives.align.fields[2]: no encoder reads the field 'group'.",
    ),
    "an objective on one field": (
        "[image, text]",
        "[image]",
        'line 18, model.objectives.align.fields: expected at least 2 values; found ["image"]',
    ),
    "an objective on a text": (
        "[image, text]",
        "image",
        "line 18, model.objectives.align.fields: expected a list; found 'image'",
    ),
    "an objective without fields": (
        ", fields: [image, text]",
        "",
        "line 18, model.objectives.align: 'contrastive' needs the parameter 'fields'",
    ),
    "an unknown optimizer": (
        "use: adamw",
        "use: admw",
        "line 22, training.optimizer.use: no optimizer is called 'admw'. Did you mean 'adamw'?",
    ),
    "a wrapper of optimizers": (
        "use: adamw",
        "use: lossscaleoptimizer",
        "line 22, training.optimizer.use: no optimizer is called 'lossscaleoptimizer'.",
    ),
    "a parameter of no optimizer": (
        "learning_rate",
        "learnin_rate",
        "line 22, training.optimizer.learnin_rate: 'adamw' takes no parameter 'learnin_rate'. Did you mean",
    ),
    "a learning rate in words": (
        "0.001",
        "fast",
        "line 22, training.optimizer.learning_rate: expected a number above 0; found 'fast'",
    ),
    "a learning rate below zero": (
        "0.001",
        "-1",
        "line 22, training.optimizer.learning_rate: expected a number above 0; found -1",
    ),
    "what Keras refuses": ("0.001", "0.001, name: 3", "line 22, training.optimizer: Argument `name` must be a string"),
}


@pytest.mark.parametrize(("old", "new", "expected"), WRONG_NETWORK.values(), ids=WRONG_NETWORK)
def test_parts_of_the_network_are_checked_before_anything_runs(problems, old, new, expected):
    [found] = problems(changed(old, new), network=True)
    assert found[: len(expected)] == expected


def test_a_sound_network_is_sound(load):
    config = load(SOUND, network=True)
    assert loading.warnings(config) == []


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        (["fused"], ["line 18, model.objectives.align: it reads a fusion, but there is no model.fusion"]),
        (["heads.keywords.logits", "targets.keywords.hot", "present.image", "fields.text.ids"], []),
        (
            ["heads.keyword.logits"],
            ["line 18, model.objectives.align: there is no head 'keyword'. Did you mean 'keywords'?"],
        ),
        (["targets.text.ids"], ["line 18, model.objectives.align.fields[1]: no head predicts the field 'text'."]),
        (
            ["embedding.text"],
            ["line 18, model.objectives.align: it needs the tensor 'embedding.text'. Did you mean 'embeddings'?"],
        ),
        (["embeddings"], ["line 18, model.objectives.align: it needs the tensor 'embeddings'."]),
        (ZeroDivisionError("by zero"), ["line 18, model.objectives.align: ZeroDivisionError: by zero"]),
    ],
)
def test_what_an_objective_needs_is_looked_for(problems, load, monkeypatch, needs, expected):
    def given_needs(self):
        if isinstance(needs, Exception):
            raise needs
        return needs

    monkeypatch.setattr("mmstream_align.contrastive.Contrastive.needs", given_needs)
    text = SOUND.replace("  fusion: {use: concat}\n", "  # no fusion\n").replace("weight: 0.5", "reads: image")
    if not expected:
        assert load(text, network=True)
        return
    found = problems(text, network=True)
    assert [line[: len(start)] for line, start in zip(found, expected, strict=True)] == expected


def test_an_objective_that_reads_the_fusion_gives_modality_dropout_an_effect(load, monkeypatch):
    monkeypatch.setattr("mmstream_align.contrastive.Contrastive.needs", lambda self: ["fused"])
    config = load(changed("weight: 0.5", "reads: image"), ["training.modality_dropout=0.5"], network=True)
    assert loading.warnings(config) == []


# The file itself


def test_files_that_hold_no_config(problems, tmp_path):
    nothing = "is not a config: expected keys such as `source`, `fields`, `model`"
    for text in ("", "# nothing\n", "[1, 2]", "hello", "~", "---\n"):
        [found] = problems(text)
        assert found.endswith(nothing)
    with pytest.raises(ConfigError, match=r"cannot read the config .*nosuch\.yaml: No such file or directory"):
        load_config(str(tmp_path / "nosuch.yaml"))
    with pytest.raises(ConfigError, match=r"cannot read the config .*: Is a directory"):
        load_config(str(tmp_path))


UNREADABLE = {
    "an open list": (
        "[48, 48]}",
        "[48, 48",
        "line 5, not valid YAML: expected ',' or ']', but got ':' while parsing a flow sequence that starts on line 4",
    ),
    "a tab": ("  epochs", "\tepochs", "line 21, not valid YAML: found character '\\t' that cannot start any token"),
    "two documents": (
        "golden: 4",
        "---\na: b",
        "line 19, not valid YAML: expected a single document in the stream, but found another document",
    ),
    "no such anchor": ("{use: gru}", "*other", "line 12, not valid YAML: found undefined alias 'other'"),
    "a zero byte": ("golden: 4", "golden: \0", "not valid YAML: unacceptable character #x0000"),
    "an anchor within itself": (
        "{use: gru}",
        "&a {use: gru, x: *a}",
        "line 12, not valid YAML: nested deeper than 32 levels",
    ),
    "a deep list": (
        "golden: 4",
        "golden: " + "[" * 40 + "]" * 40,
        "line 19, not valid YAML: nested deeper than 32 levels",
    ),
    "a very deep list": (
        "golden: 4",
        "golden: " + "[" * 700 + "]" * 700,
        "not valid YAML: nested deeper than 32 levels",
    ),
    "a very deep mapping": ("golden: 4", "golden: " + "{a: " * 2000, "not valid YAML: nested deeper than 32 levels"),
}


@pytest.mark.parametrize(("old", "new", "expected"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_says_where(problems, old, new, expected):
    [found] = problems(changed(old, new))
    assert found[: len(expected)] == expected


def test_other_encodings_than_utf8_are_refused_with_the_line(problems, load):
    assert problems(SOUND.encode().replace(b"golden", b"gold\xe9n"))[0].startswith("line 19, not UTF-8: the byte 0xe9")
    assert problems(SOUND.encode("utf-16"))[0].startswith("line 1, not UTF-8: the byte 0xff")
    assert load(b"\xef\xbb\xbf" + SOUND.encode()) == load(SOUND)


def test_a_file_that_is_far_too_large_is_not_parsed(problems):
    [found] = problems("x" * 300_000)
    assert found.endswith("is larger than 262,144 bytes; is it the right file?")


def test_aliases_that_multiply_are_refused(problems):
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
    [found] = problems(bomb + SOUND)
    assert found.endswith("not valid YAML: more than 20,000 values, including those of aliases")


def test_a_key_that_is_given_twice_names_both_lines(problems):
    assert problems(SOUND + "golden: 3\n") == ["line 23, golden: is given twice; first on line 19"]
    assert problems(changed("  group: {use: category}", "  image:\n    use: category")) == [
        "line 7, fields.image: is given twice; first on line 4",
        "line 17, model.heads.group.target: there is no field 'group'. Available: image, keywords, text.",
    ]
    assert problems(changed("use: category", "use: category, use: tags")) == [
        "line 7, fields.group.use: is given twice; first on line 7"
    ]


def test_keys_that_are_no_text_are_refused(problems):
    assert "line 19, a key must be plain text" in problems(changed("golden: 4", "[a, b]: 4"))
    assert "line 19, a key must be plain text" in problems(changed("golden: 4", "? {a: b}\n: 4"))
    assert problems(changed("golden: 4", "4: 4"))[0].startswith("line 19, 4: unknown key '4'.")


def test_tags_are_refused(problems):
    assert problems(changed("{use: gru}", "!!python/object:os.system {use: gru}")) == [
        "line 12, model.encoders.text: the tag !!python/object:os.system has no meaning here; remove it"
    ]
    assert problems(changed("epochs: 2", "epochs: !much 2")) == [
        "line 21, training.epochs: the tag !much has no meaning here; remove it"
    ]
    assert problems(changed("epochs: 2", "epochs: !!int two")) == [
        "line 21, training.epochs: 'two' cannot be read as int"
    ]


def test_anchors_and_merge_keys_are_resolved(load, problems):
    text = changed("{use: cnn}", "&part {use: cnn, filters: [8, 8]}").replace("{use: gru}", "{<<: *part, use: gru}")
    config = load(text)
    assert config.model.encoders["text"].use == "gru"
    assert config.model.encoders["text"].parameters == {"filters": [8, 8]}
    several = changed("{use: cnn}", "&a {use: cnn, x: 1}").replace("{use: gru}", "{<<: [{use: gru, y: 2}, *a]}")
    assert load(several).model.encoders["text"].parameters == {"x": 1, "y": 2}
    assert problems(changed("{use: gru}", "{<<: 3, use: gru}")) == [
        "line 12, model.encoders.text.<<: expected an alias for keys and values, such as *name"
    ]


def test_yaml_is_read_as_version_one_point_two():
    assert read_yaml("[yes, on, 010, 0o17, 1:30, 2001-12-14, 1e-3, ~, null, True, .5]").data == [
        "yes",
        "on",
        10,
        15,
        "1:30",
        "2001-12-14",
        0.001,
        None,
        None,
        True,
        0.5,
    ]


# Overrides


def test_overrides_are_applied_in_order_and_their_values_are_yaml(load):
    config = load(SOUND, ["training.epochs=3", "training.epochs = 4", "fields.image.size=[8, 9]", "golden=0"])
    assert (config.training.epochs, config.golden) == (4, 0)
    assert config.fields["image"].parameters == {"size": [8, 9]}
    config = load(SOUND, ["training.early_stopping={patience: 3}", "split.group=a=b", "source.path=x y"])
    assert config.training.early_stopping.patience == 3
    assert config.split.group == "a=b"
    assert load(SOUND.replace("training:\n  epochs: 2", "training:\n  seed: 2"), ["training.optimizer.use=sgd"])


def test_an_override_may_mend_what_the_file_has_wrong(load):
    assert load(changed("epochs: 2", "epochs: x"), ["training.epochs=3"]).training.epochs == 3
    assert load(changed("golden: 4", "training2: 4").replace("training2: 4", ""), ["golden=3"]).golden == 3


WRONG_OVERRIDES = {
    "training.epohcs=3": "--set training.epohcs: unknown key 'epohcs'. Did you mean 'epochs'?",
    "training.epochs=x": "--set training.epochs: expected an integer; found 'x'",
    "training.epochs=": "--set training.epochs: expected an integer; found null",
    "training.epochs": "--set training.epochs: expected key=value, such as training.epochs=3",
    "=3": "--set =3: expected key=value, such as training.epochs=3",
    "training..epochs=3": "--set training..epochs=3: expected key=value, such as training.epochs=3",
    "trainign.epochs=3": "--set trainign: unknown key 'trainign'. Did you mean 'training'?",
    "golden.x=3": "--set golden.x=3: golden has no keys; set it as a whole",
    "fields.image.size.0=3": "--set fields.image.size.0=3: fields.image.size has no keys; set it as a whole",
    "training.epochs=[": "--set training.epochs=[: expected the node content, but found '<stream end>'",
    "model=3": "--set model: expected keys and values; found 3",
    "model.width=&a [*a]": "--set model.width=&a [*a]: nested deeper than 32 levels",
    "model.width=.nan": "--set model.width: .nan is not a finite number",
    "fields.image.size=[1, x]": "--set fields.image.size[1]: expected an integer; found 'x'",
    "model.heads.group.reads=imag": "--set model.heads.group.reads: no encoder reads the field 'imag'.",
}


@pytest.mark.parametrize(("override", "expected"), WRONG_OVERRIDES.items(), ids=WRONG_OVERRIDES)
def test_a_wrong_override_is_named_as_such(problems, override, expected):
    found = problems(SOUND, [override])
    assert found[0][: len(expected)] == expected


def test_tiny_makes_everything_small_and_overrides_come_after_it(load, problems):
    config = load(SOUND, ["training.epochs=7"], tiny=True)
    assert (config.source.limit, config.model.width, config.training.epochs) == (256, 16, 7)
    assert (config.training.steps_per_epoch, config.golden) == (4, 2)
    assert load(SOUND[: SOUND.index("golden")], tiny=True).training.batch_size == 16
    for broken in ("3", "[1]", "null"):
        found = problems(changed("{use: jsonl, path: manifest.jsonl, id: id}", broken), tiny=True)
        assert all(" source" in line or line.startswith("source.") for line in found)


@pytest.mark.parametrize(
    ("overrides", "is_set"), [([], False), (["training.steps_per_epoch=4"], True), (["training={epochs: 2}"], False)]
)
def test_what_tiny_sets_is_not_set_by_the_user(load, overrides, is_set):
    config = load(SOUND, ["training.epochs=7", *overrides], tiny=True)
    assert config.is_set_by_user("training.epochs")
    assert config.is_set_by_user("training.steps_per_epoch") is is_set
    assert not config.is_set_by_user("model.width")
    assert not load(SOUND).is_set_by_user("training.steps_per_epoch")
    assert load(SOUND, ["training.steps_per_epoch=4"]).is_set_by_user("training.steps_per_epoch")


# What a model keeps


def dump(data):
    out = io.StringIO()
    YAML().dump(data, out)
    return out.getvalue()


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.sampled_from(
    [
        "?0",
        "long words " * 40,
        "yes",
        "no",
        "~",
        "null",
        "1e-3",
        "010",
        "1_0",
        "2001-12-14",
        "<<",
        "=",
        "a: b",
        "#",
        "- a",
        "'",
        '"',
        "\n",
        " a ",
        ".inf",
        "!x",
        "&x",
        "*x",
        "0x1F",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(
    path=TEXTS,
    column=TEXTS,
    parameters=st.dictionaries(TEXTS.filter(lambda key: key not in ("use", "column")), VALUES, max_size=3),
    rate=st.floats(1e-9, 1),
)
def test_a_config_written_as_yaml_is_read_back_equal(path, column, parameters, rate):
    config = Config.model_validate(
        {
            "source": {"use": "jsonl", "path": path},
            "fields": {"image": {"use": "image", "column": column, **parameters}},
            "model": {"encoders": {"image": {"use": "cnn"}}, "heads": {"a": {"use": "b", "reads": ["image"]}}},
            "training": {"optimizer": {"use": "sgd", "learning_rate": rate}},
        }
    )
    again = parse_config(config.to_yaml())
    assert again == config
    assert again.to_yaml() == config.to_yaml()


def test_an_effective_config_can_be_used_in_place_of_the_file(load):
    config = load(SOUND, ["training.epochs=3"], tiny=True)
    assert load(config.to_yaml()) == config


@pytest.mark.parametrize("text", ["[", "a: b", "3", "", SOUND + "golden: 3\n", SOUND + "gloden: 3\n"])
def test_a_model_whose_config_is_damaged_says_so(text):
    with pytest.raises(ConfigError, match="not a valid config: "):
        parse_config(text)


# Whatever is done to it


def places(data, path=()):
    yield path
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


BASE = YAML(typ="safe").load(SOUND)
PLACES = [place for place in places(BASE) if place]
KEYS = st.sampled_from(sorted({str(place[-1]) for place in PLACES})) | TEXTS


def mutate(data, place, action, key, value):
    *parents, last = place
    for step in parents:
        data = data[step]
    if action == "delete":
        del data[last]
    elif action == "rename":
        data[key] = data.pop(last)
    elif action == "add":
        data[last][key] = value
    else:
        data[last] = value


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(PLACES), st.sampled_from(["delete", "rename", "add", "replace"]), KEYS, VALUES | KEYS
        ),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
)
def test_a_mutated_config_is_sound_or_a_config_error(tmp_path_factory, mutations, tiny):
    data = copy.deepcopy(BASE)
    for mutation in mutations:
        with contextlib.suppress(AttributeError, IndexError, KeyError, TypeError):  # an earlier one took the place away
            mutate(data, *mutation)
    path = tmp_path_factory.getbasetemp() / "mutated.yaml"
    path.write_text(dump(data), encoding="utf-8")
    sound_or_config_error(path, tiny=tiny)


@settings(deadline=None, max_examples=100)
@given(
    st.integers(0, len(SOUND)),
    st.integers(0, 20),
    st.text(st.sampled_from("{}[]:,&*!|>'\"%@`#-? \n\tab01.<~=") | st.characters(), max_size=12),
    st.text(st.sampled_from("abc.=[]{}: 01") | st.characters(), max_size=12),
)
def test_a_file_with_a_piece_replaced_is_sound_or_a_config_error(tmp_path_factory, start, length, piece, override):
    path = tmp_path_factory.getbasetemp() / "damaged.yaml"
    text = SOUND[:start] + piece + SOUND[start + length :]
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    sound_or_config_error(path, overrides=[override])


def sound_or_config_error(path, **options):
    try:
        config = load_config(str(path), network=False, **options)
    except ConfigError as error:
        message = str(error)
    else:
        assert parse_config(config.to_yaml()) == config
        return
    lines = [int(n) for n in re.findall(r"^  line (\d+), ", message, re.M)]
    assert lines == sorted(lines)
    assert all(1 <= line <= len(re.split(rb"\r\n|\r|\n", path.read_bytes())) for line in lines)
    assert "\n" in message or "is not a config" in message


def test_a_split_as_it_was_before_near_has_the_same_digest(load):
    split = load(changed("{validation: 0.1, test: 0.1}", "{group: author}")).split
    assert split.model_dump_json() == ('{"validation":0.1,"test":0.1,"group":"author","column":null,"by_file":false}')
    kept = load(changed("{validation: 0.1, test: 0.1}", "{near: [text]}"))
    assert kept.split.model_dump(mode="json")["near"] == ["text"]
    assert parse_config(kept.to_yaml()).split == kept.split


def test_keeping_near_equal_records_needs_a_field_that_is_compared(problems):
    data = YAML(typ="safe").load(SOUND)
    data["split"]["near"] = True
    data["fields"] = {"group": data["fields"]["group"]}
    assert any(
        "split.near: has no effect: only pictures and texts are compared" in line for line in problems(dump(data))
    )
