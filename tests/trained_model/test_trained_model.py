"""A model: one preprocessing path, golden records that prove it, and a door for Python."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from small_road import emoji_rows, read_rows, run, write_manifest

import mmstream
from mmstream.errors import MmstreamError
from mmstream.preprocessing import examples
from mmstream.preprocessing.transform_graph import load_transform_graph
from mmstream.records.media import Media
from mmstream.records.record import Record
from mmstream.trained_model.model_files import write_model_json


@pytest.fixture
def copy(road, tmp_path):
    """A copy of the model that a test may damage."""
    shutil.copytree(road.model, tmp_path / "model")
    return tmp_path / "model"


def test_one_record_gives_equal_tensors_wherever_it_goes(road):
    import tensorflow as tf

    model = mmstream.load(road.model, embeddings=True)
    everything = model.all_fields
    row = emoji_rows(1)[0]
    found = {}
    for split in ("train", "validation", "test"):
        for serialised in examples.read_examples(examples.shards_of(str(road.examples), split)):
            parsed = examples.parse(serialised, everything.specs)
            name = examples.parse_texts(tf.expand_dims(serialised, 0), ["_id"])["_id"][0].numpy().decode()
            if name == row["id"]:
                found = tf.nest.map_structure(lambda tensor: tensor.numpy(), parsed)
    assert found

    media = Media(str(road.folder / "data"))
    record = Record(row["id"], "here", row)
    by_path = everything.tensors([everything.decode(everything.load(record, media).values)], 4)
    pixels = (road.folder / "data" / row["image"]).read_bytes()
    values = {**row, "image": pixels}
    by_bytes = model.preprocessor.tensors([model.preprocessor.decode({n: values[n] for n in ("image", "text")})], 4)
    for field, tensors in found.items():
        for tensor, value in tensors.items():
            np.testing.assert_array_equal(value, by_path[field][tensor][0], err_msg=f"{field}/{tensor}")
            if field in by_bytes:
                np.testing.assert_array_equal(value, by_bytes[field][tensor][0], err_msg=f"{field}/{tensor}")


def test_python_and_the_job_give_equal_labels(road, tmp_path):
    rows = emoji_rows(5)
    manifest = write_manifest(road.folder / "data" / "five.jsonl", rows)
    run("label", road.model, "--input", manifest, "--output", tmp_path / "out")
    inputs = [{"id": row["id"], "image": str(road.folder / "data" / row["image"])} for row in rows]
    by_python = {row["id"]: row for row in mmstream.load(road.model).label(inputs)}
    for row in read_rows(tmp_path / "out"):
        assert {**by_python[row["id"]], "_origin": ""} == {**row, "_origin": ""}


def test_python_gets_a_dead_letter_in_place_of_a_row_that_fails(road):
    good = str(road.folder / "data" / emoji_rows(1)[0]["image"])
    first, second, third = mmstream.load(road.model).label([{"image": good}, {"image": "no.png"}, {"image": b"?"}])
    assert first["group"]
    assert isinstance(second, mmstream.DeadLetter)
    assert "cannot open" in second.message
    assert isinstance(third, mmstream.DeadLetter)


def test_labelling_in_python_needs_no_beam(road):
    good = str(road.folder / "data" / emoji_rows(1)[0]["image"])
    code = (
        "import sys, mmstream\n"
        f"row, = mmstream.load({str(road.model)!r}).label([{{'image': {good!r}}}])\n"
        "assert row['group'], row\n"
        "assert not {'apache_beam', 'tensorflow_transform'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def seal(model):
    """Let the checksums fit the files again."""
    write_model_json(str(model), json.loads((model / "model.json").read_text()))


@pytest.mark.slow
def test_records_of_ones_own_are_equal_on_every_path(road, capsys):
    assert run("verify", road.model, "--input", road.folder / "data" / "sample.jsonl", "--records", 40) == 0
    out, err = capsys.readouterr()
    assert "all code paths agree" in err
    names = {line.split()[0] for line in out.splitlines() if " ok" in line}
    assert {"tensors/image/pixels", "outputs/heads/group/logits", "rows/caption", "rows/keywords"} <= names


@pytest.mark.slow
def test_a_path_that_goes_astray_is_found(road, capsys, monkeypatch):
    serialise = examples.serialise

    def astray(tensors, row, *more):
        return serialise(tensors, row ^ 1 if row ^ 1 < len(tensors["image"]["pixels"]) else row, *more)

    monkeypatch.setattr("mmstream.outputs.example_parts.serialise", astray)
    assert run("verify", road.model, "--input", road.folder / "data" / "sample.jsonl", "--records", 40) == 1
    differ = {line.split()[0] for line in capsys.readouterr().out.splitlines() if "DIFFERS" in line}
    assert "tensors/image/pixels" in differ


def test_verify_finds_a_sound_model_sound(road, capsys):
    assert run("verify", road.model) == 0
    assert "reproduces its golden records" in capsys.readouterr().err


def test_a_model_whose_golden_records_come_out_otherwise_refuses_to_label(copy, road, tmp_path, capsys):
    with np.load(copy / "golden" / "expected.npz") as archive:
        arrays = dict(archive)
    arrays["outputs/heads/group/logits"] = arrays["outputs/heads/group/logits"] + 1
    np.savez(copy / "golden" / "expected.npz", **arrays)
    seal(copy)
    manifest = write_manifest(road.folder / "data" / "one.jsonl", emoji_rows(1))
    assert run("label", copy, "--input", manifest, "--output", tmp_path / "out") == 1
    message = capsys.readouterr().err
    assert "outputs/heads/group/logits: differs by 1" in message
    assert run("verify", copy) == 1


def test_golden_records_that_are_gone_are_missed(copy):
    (copy / "golden" / "records.jsonl").unlink()
    seal(copy)
    with pytest.raises(MmstreamError, match=r"has no checksum for golden/records\.jsonl"):
        mmstream.load(copy)


def test_golden_records_of_which_one_is_gone_are_missed(copy):
    path = copy / "golden" / "records.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    seal(copy)
    with pytest.raises(MmstreamError, match=r"golden records .* are incomplete"):
        mmstream.load(copy).prepare()


def test_golden_records_that_prove_less_than_they_should_are_refused(copy):
    with np.load(copy / "golden" / "expected.npz") as archive:
        arrays = {name: value for name, value in archive.items() if name != "outputs/heads/group/logits"}
    np.savez(copy / "golden" / "expected.npz", **arrays)
    seal(copy)
    with pytest.raises(MmstreamError, match="training saved no outputs/heads/group/logits"):
        mmstream.load(copy).prepare()


def test_a_damaged_network_is_named(copy):
    (copy / "network.keras").write_bytes(b"nothing")
    with pytest.raises(MmstreamError, match=r"network\.keras of the model .* its checksum differs"):
        mmstream.load(copy)
    seal(copy)
    with pytest.raises(MmstreamError, match=r"network\.keras cannot be loaded"):
        mmstream.load(copy).prepare()


def test_what_is_no_model_is_named(tmp_path):
    with pytest.raises(MmstreamError, match="is not a model that `mmstream train` finished"):
        mmstream.load(tmp_path)


def test_a_fitted_transform_that_reaches_for_files_is_not_loaded(tmp_path):
    import tensorflow as tf

    module = tf.Module()
    target = str(tmp_path / "written")

    def transform_fn(text: tf.Tensor) -> tf.Tensor:
        tf.io.write_file(target, text)
        return text

    module.transform_fn = tf.function(transform_fn, input_signature=[tf.TensorSpec([], tf.string)])
    tf.saved_model.save(module, str(tmp_path / "graph"))
    with pytest.raises(MmstreamError, match="has the operations WriteFile"):
        load_transform_graph(str(tmp_path / "graph"))
    assert not (tmp_path / "written").exists()


REACHING = {
    "ReadFile": lambda tf, path: tf.io.read_file(path),
    "MatchingFiles": lambda tf, path: tf.io.matching_files(path + "*"),
    "EagerPyFunc": lambda tf, path: tf.py_function(lambda: "x", [], tf.string),
    "ImmutableConst": lambda tf, path: tf.raw_ops.ImmutableConst(dtype="uint8", shape=[1], memory_region_name=path),
    "DebugIdentityV2": lambda tf, path: tf.raw_ops.DebugIdentityV2(input="x", debug_urls=["file://" + path]),
    "RestoreV2": lambda tf, path: tf.raw_ops.RestoreV2(
        prefix=path, tensor_names=["x"], shape_and_slices=[""], dtypes=["string"]
    )[0],
    "PrintV2": lambda tf, path: tf.print("x", output_stream="file://" + path),
}


@pytest.mark.parametrize(("operation", "call"), REACHING.items())
def test_a_fitted_transform_with_an_operation_that_is_not_allowed_is_not_loaded(tmp_path, operation, call):
    import tensorflow as tf

    module = tf.Module()

    def branch(text: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([call(tf, str(tmp_path / "secret"))]):
            return tf.identity(text)

    inner = tf.function(branch)  # the operation stands in a function that is called by another
    module.transform_fn = tf.function(lambda text: inner(text), input_signature=[tf.TensorSpec([], tf.string)])
    tf.saved_model.save(module, str(tmp_path / "graph"))
    with pytest.raises(MmstreamError, match=f"has the operations {operation}"):
        load_transform_graph(str(tmp_path / "graph"))


def test_a_vocabulary_that_lies_elsewhere_is_not_read(copy, tmp_path):
    from tensorflow.core.protobuf import saved_model_pb2

    path = copy / "transform" / "transform_fn" / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    (graph,) = saved.meta_graphs
    name = graph.asset_file_def[0].filename
    graph.asset_file_def[0].filename = f"../assets/{name}"
    path.write_bytes(saved.SerializeToString())
    with pytest.raises(MmstreamError, match="is not the name of an asset"):
        load_transform_graph(str(path.parent))
    graph.asset_file_def[0].filename = name
    for function in graph.graph_def.library.function:
        for node in function.node_def:
            if node.op == "InitializeTableFromTextFileV2":
                constant = function.node_def.add(name="elsewhere", op="Const")
                constant.attr["dtype"].type = 7
                constant.attr["value"].tensor.dtype = 7
                constant.attr["value"].tensor.string_val.append(b"/etc/passwd")
                node.input[1] = "elsewhere:output:0"
    path.write_bytes(saved.SerializeToString())
    with pytest.raises(MmstreamError, match="fills a table from a file that is not one of its assets"):
        load_transform_graph(str(path.parent))


def test_metrics_are_written_where_the_design_says(road):
    assert run("evaluate", road.model, "--examples", road.examples) == 0
    metrics = json.loads((road.model / "evaluation" / "test" / "metrics.json").read_text())
    assert metrics["split"] == "test"
    assert metrics["records"] > 0
    beside = {"metric", "reads", "intervals", "fields", "warnings", "records", "unseen", "unread"}
    beside |= {"baselines", "best_baseline"}
    of_classes = {"accuracy", "macro_f1", "balanced_accuracy", "rare_recall", "ece"}
    assert set(metrics["heads"]["group"]) - beside == of_classes
    assert set(metrics["heads"]["keywords"]) - beside == {"map", "micro_f1", "macro_f1", "rare_recall", "ece"}
    assert set(metrics["heads"]["caption"]) - beside == {"bleu4", "chrf", "exact", "written"}
    assert metrics["heads"]["caption"]["reads"] == ["image"]
    assert set(metrics["retrieval"]) == {"image->text", "text->image"}
    assert set(metrics["retrieval"]["image->text"]) - beside == {"r@1", "r@5", "r@10", "candidates"}


@pytest.mark.slow
def test_evaluate_and_train_show_tables_and_json_only_when_it_is_asked_for(road, capsys):
    """The table shows every figure of metrics.json, and its interval."""
    commands = {
        "evaluate": ("evaluate", road.model, "--examples", road.examples),
        "train": ("train", road.config, "--examples", road.examples, "--output", road.model),
    }
    for command in commands.values():
        capsys.readouterr()
        assert run(*command) == 0
        assert "{" not in capsys.readouterr().out
    assert run(*commands["train"], "--json") == 0
    trained = json.loads(capsys.readouterr().out)
    assert (trained["epochs"], [row["epoch"] for row in trained["history"]]) == (2, [1, 2])
    assert run(*commands["evaluate"], "--json") == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics == json.loads((road.model / "evaluation" / "test" / "metrics.json").read_text())
    assert run(*commands["evaluate"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for name, head in metrics["heads"].items():
        low, high = head["intervals"][head["metric"]]
        shown = (
            f"{name} from image {head['records']} {head['metric']} {head[head['metric']]:.4g} [{low:.3g}, {high:.3g}]"
        )
        assert shown in lines
        whole = head["fields"]["image"]["whole"]
        assert any(line.startswith(f"{name}: {head['metric']} image") and f" {whole:.4g} " in line for line in lines)
    assert any(line.startswith("retrieval image->text r@1 ") for line in lines)


def test_examples_of_other_preprocessing_are_refused(copy, road, capsys):
    (copy / "transform" / "fingerprint").write_text("another")
    seal(copy)
    assert run("evaluate", copy, "--examples", road.examples) == 1
    assert "not made by the model's preprocessing" in capsys.readouterr().err
