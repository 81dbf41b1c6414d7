"""A fingerprint binds: a model in which anything is changed is refused, or has another one."""

from __future__ import annotations

import copy
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from forks import run_planted
from small_road import emoji_rows, read_rows, run, write_manifest

import mmstream
from mmstream.errors import MmstreamError
from mmstream.records.record import strong_digest_of
from mmstream.storage import files
from mmstream.trained_model import fingerprints, model_description, network_file
from mmstream.trained_model.successors import Successors

SINGLE = ("network.keras", "config.yaml", "history.csv")
FOLDERS = ("golden", "transform", "engines")


@pytest.fixture
def model(road, tmp_path):
    """A copy of the road's model that a test may change."""
    shutil.copytree(road.model, tmp_path / "model", ignore=shutil.ignore_patterns("training", "logs", "evaluation"))
    return tmp_path / "model"


def about(model):
    return json.loads((model / "model.json").read_text())


def seal(model, description=None):
    """Write model.json with the checksums of what lies there, as an attacker would."""
    description = about(model) if description is None else description
    if isinstance(description, dict) and isinstance(description.get("checksums"), dict):
        found = [name for name in SINGLE if (model / name).exists()]
        found += [
            str(path.relative_to(model)) for name in FOLDERS for path in (model / name).rglob("*") if path.is_file()
        ]
        sums = {name: files.checksum(str(model / name)) for name in found}
        description["checksums"] = {**{k: v for k, v in description["checksums"].items() if k in sums}, **sums}
    (model / "model.json").write_text(json.dumps(description))


def opened(model):
    """The fingerprint of a model, or None where it is refused, in one sentence."""
    try:
        return mmstream.load(model).fingerprint
    except MmstreamError as error:
        message = str(error)
    assert len(message) < 1000
    return None


def archive(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        return {name: found.read(name) for name in found.namelist()}


def packed(members, compression=zipfile.ZIP_STORED) -> bytes:
    """An archive of pairs (name, bytes)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as made:
        for name, data in members:
            made.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, compression)
    return buffer.getvalue()


# Of every file


def byte_mutations(data: bytes):
    """(name, bytes) of other files: flipped at the ends and in between, longer, shorter, empty."""
    places = sorted({0, len(data) // 3, len(data) // 2, len(data) - 1} - {-1})
    for place in places if data else ():
        yield f"flipped {place}", data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    yield "appended", data + b"\n"
    yield "prepended", b"\n" + data
    if data:
        yield "truncated", data[:-1]
        yield "halved", data[: len(data) // 2]
        yield "emptied", b""


def test_no_byte_of_a_file_can_be_changed_unseen(model):
    true, described = opened(model), (model / "model.json").read_bytes()
    tried = 0
    for name in about(model)["checksums"]:
        path = model / name
        whole = path.read_bytes()
        for what, data in byte_mutations(whole):
            path.write_bytes(data)
            (model / "model.json").write_bytes(described)
            assert opened(model) is None, (name, what, "checksums kept")
            seal(model)
            assert opened(model) != true, (name, what)
            tried += 1
        path.unlink()
        (model / "model.json").write_bytes(described)
        assert opened(model) is None, (name, "removed, checksums kept")
        seal(model)
        assert opened(model) != true, (name, "removed")
        path.write_bytes(whole)
    (model / "model.json").write_bytes(described)
    assert opened(model) == true
    assert tried > 100


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_file_can_be_added_unseen(model, folder):
    true = opened(model)
    (model / folder).mkdir(exist_ok=True)
    (model / folder / "more").write_bytes(b"more")
    seal(model)
    assert opened(model) != true


@pytest.mark.parametrize("name", ["transform/transform_fn/assets/.hidden", "golden/.media/x", "engines/.x"])
def test_hidden_files_are_refused(model, name):
    (model / name).parent.mkdir(parents=True, exist_ok=True)
    (model / name).write_bytes(b"?")
    with pytest.raises(MmstreamError, match="hidden files, links to folders and anything that is not a plain file"):
        mmstream.load(model)


def test_a_folder_that_is_a_link_is_refused(model, tmp_path):
    shutil.move(model / "transform" / "transform_fn" / "assets", tmp_path / "elsewhere")
    (model / "transform" / "transform_fn" / "assets").symlink_to(tmp_path / "elsewhere")
    seal(model)
    with pytest.raises(MmstreamError, match="hidden files, links to folders and anything that is not a plain file"):
        mmstream.load(model)


@pytest.mark.parametrize("name", ["network.keras", "model.json", "config.yaml", "golden/pipe"])
def test_a_pipe_does_not_block(model, name):
    (model / name).unlink(missing_ok=True)
    os.mkfifo(model / name)
    with pytest.raises(MmstreamError, match="plain file"):
        mmstream.load(model)


# Of every key of model.json


def places(value, path=()):
    """The paths of all keys of a description, and of the first and last item of its lists."""
    items = (
        value.items()
        if isinstance(value, dict)
        else [(n, value[n]) for n in sorted({0, len(value) - 1})]
        if isinstance(value, list) and value
        else ()
    )
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def others(value):
    """Other values in the place of one: of its type, and of every other."""
    yield from (each for each in (None, True, False, 0, 1, 7, -1, 0.5, "", "x", [], [1], {}, {"x": 1}))
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (value + 1, float(value) + 0.5, str(value), float(value))
    elif isinstance(value, str):
        yield from (value + "x", value.upper(), [value])
    elif isinstance(value, list):
        yield from ([*value, *value[:1]], value[::-1], value[1:])
    elif isinstance(value, dict):
        yield from ({**value, "more": 1}, dict(list(value.items())[1:]), list(value))


def same(one, other):
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def test_no_key_of_model_json_can_be_changed_unseen(model):
    true, description = opened(model), about(model)
    refused = renamed = 0
    for *path, key in [place for place in places(description) if place[0] != "checksums"]:
        found = description
        for step in path:
            found = found[step]
        for value in others(found[key]):
            if same(value, found[key]):
                continue
            mutated = copy.deepcopy(description)
            inner = mutated
            for step in path:
                inner = inner[step]
            inner[key] = value
            seal(model, mutated)
            seen = opened(model)
            assert seen != true, (path, key, value)
            refused, renamed = refused + (seen is None), renamed + (seen is not None)
        mutated = copy.deepcopy(description)
        inner = mutated
        for step in path:
            inner = inner[step]
        del inner[key]
        seal(model, mutated)
        assert opened(model) != true, (path, key, "removed")
        if isinstance(found, dict):
            inner[f"{key} "] = found[key]
            seal(model, mutated)
            assert opened(model) != true, (path, key, "renamed")
    assert refused > 200
    assert renamed > 50


@pytest.mark.parametrize("key", model_description.Description.model_fields)
def test_a_key_that_is_missing_is_named(model, key):
    description = about(model)
    del description[key]
    (model / "model.json").write_text(json.dumps(description))
    with pytest.raises(MmstreamError, match=f"{key}: field required|has format 'None'"):
        mmstream.load(model)


@pytest.mark.parametrize("text", ["", "[]", "null", "7", "{}", '{"format": 4}', '{"format": true}', "[" * 100_000])
def test_what_is_no_description_is_refused(model, text):
    (model / "model.json").write_text(text)
    with pytest.raises(MmstreamError) as refused:
        mmstream.load(model)
    assert len(str(refused.value)) < 700


def test_a_key_that_is_there_twice_is_refused(model):
    text = (model / "model.json").read_text()
    (model / "model.json").write_text('{"golden": 0,' + text.lstrip()[1:])
    with pytest.raises(MmstreamError, match="a duplicate key"):
        mmstream.load(model)


def test_a_model_is_never_in_training_because_a_key_is_missing(model, road, tmp_path, capsys):
    description = about(model)
    del description["golden"]
    network = mmstream.load(road.model).network
    weights = [weight + 1 for weight in network.get_weights()]
    loaded = network_file.load_network((model / "network.keras").read_bytes(), "", mmstream.load(road.model).config)
    loaded.set_weights(weights)
    (model / "network.keras").write_bytes(network_file.network_bytes(loaded))
    seal(model, description)
    manifest = write_manifest(road.folder / "data" / "one.jsonl", emoji_rows(1))
    assert run("label", model, "--input", manifest, "--output", tmp_path / "out") == 1
    assert "golden: field required" in capsys.readouterr().err
    seal(model, {**description, "golden": 3})
    assert run("label", model, "--input", manifest, "--output", tmp_path / "out") == 1
    assert "produce different results here than in training" in capsys.readouterr().err
    seal(model, {**description, "golden": 0})  # it proves nothing any more, and is another model
    expected = ("--expect", mmstream.load(road.model).fingerprint)
    assert run("label", model, "--input", manifest, "--output", tmp_path / "out", *expected) == 1
    assert "(--expect)" in capsys.readouterr().err


# Of the network


def rewired(model):
    """The network with the inputs of two of its layers exchanged; the weights are the same."""
    members = archive((model / "network.keras").read_bytes())
    config = json.loads(members["config.json"])
    heads = [each for each in config["config"]["layers"] if each["name"].startswith("heads_")]
    texts = next(each for each in config["config"]["layers"] if each["name"] == "embedding_text")
    assert len(heads) > 1
    images = next(each for each in config["config"]["layers"] if each["name"] == "embedding_image")
    texts["inbound_nodes"], images["inbound_nodes"] = images["inbound_nodes"], texts["inbound_nodes"]
    members["config.json"] = json.dumps(config).encode()
    return packed(members.items())


def another_weight(model, change):
    """The network with one of its weights changed by a function (arrays by path in the file, to change)."""
    import h5py

    members = archive((model / "network.keras").read_bytes())
    buffer = io.BytesIO(members["model.weights.h5"])
    with h5py.File(buffer, "r+") as weights:
        change(weights)
    members["model.weights.h5"] = buffer.getvalue()
    return packed(members.items())


def _reshape(weights):
    path = "layers/classification/logits/vars/0"
    values = weights[path][()]
    del weights[path]
    weights[path] = values.T


def _retype(weights):
    path = "layers/classification/logits/vars/1"
    values = weights[path][()]
    del weights[path]
    weights[path] = values.astype(np.float64)


def _exchange(weights):
    one, other = "layers/pool_tokens/projection/vars/0", "layers/pool_tokens_1/projection/vars/0"
    first, second = weights[one][()], weights[other][()]
    weights[one][...], weights[other][...] = second, first


def _rename(weights):
    weights.move("layers/classification", "layers/classification_1")


def members_of(model):
    return list(archive((model / "network.keras").read_bytes()).items())


NETWORKS = {
    "rewired": rewired,
    "reshaped": lambda model: another_weight(model, _reshape),
    "retyped": lambda model: another_weight(model, _retype),
    "exchanged": lambda model: another_weight(model, _exchange),
    "renamed": lambda model: another_weight(model, _rename),
    "in another order": lambda model: packed(members_of(model)[::-1]),
    "with a member more": lambda model: packed([*members_of(model), ("more", b"")]),
    "with a member twice": lambda model: packed([*members_of(model), ("config.json", b"{}")]),
    "without a member": lambda model: packed(members_of(model)[:-1]),
    "compressed": lambda model: packed(members_of(model), zipfile.ZIP_DEFLATED),
    "with a member that climbs": lambda model: packed([*members_of(model), ("assets/../../x", b"")]),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("how", NETWORKS)
def test_another_network_has_another_fingerprint(model, how):
    true = opened(model)
    (model / "network.keras").write_bytes(NETWORKS[how](model))
    assert opened(model) is None
    seal(model)
    assert opened(model) != true


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("reshaped", "cannot be loaded"),
        ("renamed", "cannot be loaded"),
        ("with a member more", "holds 'more'"),
        ("with a member twice", "repeats 'config.json'"),
        ("without a member", "lacks"),
        ("compressed", "compresses"),
        ("with a member that climbs", "holds 'assets/../../x'"),
        ("rewired", "produce different results here|fails on its golden records|cannot be loaded"),
    ],
)
def test_a_network_that_training_did_not_write_is_refused_in_one_message(model, how, message):
    (model / "network.keras").write_bytes(NETWORKS[how](model))
    seal(model)
    with pytest.raises(MmstreamError, match=message) as refused:
        mmstream.load(model, embeddings=True).prepare()
    assert len(str(refused.value)) < 1500


def test_equal_networks_have_equal_bytes(road):
    model = mmstream.load(road.model)
    data = (road.model / "network.keras").read_bytes()
    one, two = (network_file.load_network(data, "network.keras", model.config) for _ in range(2))
    assert network_file.network_bytes(one) == network_file.network_bytes(two)
    assert list(archive(data)) == ["metadata.json", "config.json", "model.weights.h5"]
    assert "date" not in archive(data)["metadata.json"].decode()


@pytest.mark.slow
def test_equal_trainings_make_equal_models_in_any_process_and_after_any_other(road, tmp_path):
    """Twice in this process, where names of layers have been given before, and in one of its own."""
    command = ("train", road.config, "--examples", road.examples, "--output")
    assert run(*command, tmp_path / "here") == 0
    assert run_planted("mmstream", "def plant(module): pass", *command, tmp_path / "there") == 0
    models = [mmstream.load(path) for path in (road.model, tmp_path / "here", tmp_path / "there")]
    assert models[0].fingerprints == models[1].fingerprints == models[2].fingerprints
    about = [(tmp_path / name / "model.json").read_bytes() for name in ("here", "there")]
    assert about[0] == about[1] == (road.model / "model.json").read_bytes()


# What is loaded is what was checked


def test_a_network_that_is_exchanged_after_the_model_was_opened_is_not_loaded(model):
    found = mmstream.load(model)
    (model / "network.keras").write_bytes(rewired(model))
    with pytest.raises(MmstreamError, match=r"network\.keras of the model .* its checksum differs"):
        found.prepare()


def test_a_vocabulary_that_is_exchanged_after_the_model_was_opened_is_noticed(model):
    found = mmstream.load(model)
    path = model / "transform" / "transform_fn" / "assets" / "group"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[1:], lines[0]]) + "\n")
    with pytest.raises(MmstreamError, match="its checksum differs"):
        found.prepare()


def test_a_vocabulary_is_read_before_it_is_compared_again(model):
    found = mmstream.load(model)
    found.prepare()
    group = found.fitted("group").vocabulary
    (model / "transform" / "transform_fn" / "assets" / "group").write_text("other\n")
    assert found.fitted("group").vocabulary == group


# What is said


def test_what_differs_is_said_in_plain_words(model, road):
    true = mmstream.load(road.model).fingerprints

    def differs(description):
        seal(model, description)
        return fingerprints.what_differs(true, mmstream.load(model).fingerprints)

    whole = about(model)
    heads = copy.deepcopy(whole["heads"])
    heads["group"]["label"] = "strings"
    assert differs({**whole, "heads": heads}) == ["the heads (what is predicted, from which fields)"]
    assert differs({**whole, "batch": 7}) == ["the batch size"]
    assert differs({**whole, "golden": 2}) == ["the golden records"]
    assert differs({**whole, "epochs": 9}) == [
        "what is kept from training (epochs, history, versions, the rest of the config)"
    ]
    calibration = {**whole["calibration"], "group": {"x": 1}}
    assert differs({**whole, "calibration": calibration}) == ["the calibration (thresholds)"]
    (model / "engines").mkdir()
    (model / "engines" / "one").write_text("x")
    assert differs(whole) == ["the engines"]


# Models of an earlier format


@pytest.fixture
def earlier(model):
    """The road's model as an mmstream of format 3 wrote it."""
    whole = about(model)
    del whole["origins"]
    found = mmstream.load(model)
    claims = {
        "weights": network_file.digest_of_weights(found.network),
        "transform": fingerprints.digest_of_transform(whole["checksums"]),
        "config": fingerprints.digest_of_config(found.config),
        "batch": whole["batch"],
        "versions": whole.pop("versions"),
        "calibration": strong_digest_of(whole["calibration"]),
    }
    (model / "model.json").write_text(json.dumps({**whole, "format": 3, "fingerprints": claims}))
    return model


def test_a_model_of_an_earlier_format_labels_as_before_and_says_that_it_is_weakly_bound(
    earlier, road, tmp_path, capsys
):
    manifest = write_manifest(road.folder / "data" / "three.jsonl", emoji_rows(3))
    found = mmstream.load(earlier)
    claims = about(earlier)["fingerprints"]
    assert found.fingerprint == strong_digest_of({**claims, "versions": found.fingerprints["versions"]})
    for output, model in (("old", earlier), ("new", road.model)):
        expected = ("--expect", mmstream.load(model).fingerprint)
        assert run("label", model, "--input", manifest, "--output", tmp_path / output, *expected) == 0
        said = capsys.readouterr().err
        assert said.count("was made by an earlier version of mmstream; its fingerprint does not cover") == (
            model == earlier
        )
    without = [[{**row, "_fingerprint": ""} for row in read_rows(tmp_path / output)] for output in ("old", "new")]
    assert without[0] == without[1]
    assert run("label", road.model, "--input", manifest, "--output", tmp_path / "old") == 1
    assert "one model is from an earlier version of mmstream" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["golden", "heads", "fingerprints", "epochs", "checksums", "fused", "calibration"])
def test_a_claim_that_is_missing_in_an_earlier_format_is_not_trusted(earlier, key):
    description = about(earlier)
    del description[key]
    (earlier / "model.json").write_text(json.dumps(description))
    with pytest.raises(MmstreamError, match=f"{key}: field required"):
        mmstream.load(earlier)


@pytest.mark.parametrize("piece", ["weights", "transform", "config", "calibration", "batch"])
def test_a_claim_of_an_earlier_format_is_checked(earlier, piece):
    description = about(earlier)
    claim = description["fingerprints"][piece]
    description["fingerprints"][piece] = claim + 1 if isinstance(claim, int) else claim[::-1]
    (earlier / "model.json").write_text(json.dumps(description))
    with pytest.raises(MmstreamError, match="does not match the model's contents"):
        mmstream.load(earlier).prepare()


def test_a_successor_of_an_earlier_format_is_not_taken_for_its_fingerprint_alone(earlier, road, tmp_path):
    current = mmstream.load(road.model)
    fingerprint = mmstream.load(earlier).fingerprint
    assert Successors(str(tmp_path), current).with_fingerprint(fingerprint).path == str(earlier)
    description = about(earlier)
    description["heads"]["group"]["score"] = "numbers"  # which no claim of that format covers
    (earlier / "model.json").write_text(json.dumps(description))
    assert mmstream.load(earlier).fingerprint == fingerprint
    assert Successors(str(tmp_path), current).with_fingerprint(fingerprint) is None


def test_a_model_that_is_not_proven_is_not_exported(model, tmp_path, capsys):
    with np.load(model / "golden" / "expected.npz") as arrays:
        changed = {name: value + 1 if "logits" in name else value for name, value in arrays.items()}
    np.savez(model / "golden" / "expected.npz", **changed)
    seal(model)
    assert run("export", model, "--to", tmp_path / "served") == 1
    assert "produce different results here than in training" in capsys.readouterr().err
    assert not (tmp_path / "served").exists()


def test_opening_needs_no_tensorflow(road):
    code = f"import sys, mmstream; mmstream.load({str(road.model)!r}); assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
