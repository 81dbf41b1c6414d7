"""`mmstream.Label`, `mmstream.Preprocess` and `mmstream.ModelHandler` in pipelines of one's own."""

from __future__ import annotations

import json

import apache_beam as beam
import pytest
from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
from apache_beam.testing.util import assert_that, equal_to
from small_road import CONFIG, emoji_rows, run

import mmstream
from mmstream.outputs import ownership, parts
from mmstream.stages.pipelines import DEAD_LETTERS

RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def counters(result) -> dict[str, int]:
    found = result.metrics().query(beam.metrics.MetricsFilter().with_namespace("mmstream"))["counters"]
    return {one.key.metric.name: one.committed for one in found}


@pytest.fixture
def rows(road, pictures):
    """Sound rows and three that fail: a missing file, no id, a broken picture."""
    bad = [
        {"id": "missing", "image": "not_there.png"},
        {"image": "no_id.png"},
        {"id": "broken", "image": b"no picture"},
    ]
    return [*pictures(50), *bad]


def expected_of(road, rows):
    model = mmstream.load(road.model)
    folder = road.folder / "data"
    absolute = [{**row, "image": str(folder / row["image"])} for row in rows[:50]]
    return {row["id"]: (row["group"], row["keywords"], row["caption"]) for row in model.label(absolute)}


def test_label_gives_rows_and_dead_letters_and_counts_them(road, rows):
    pipeline = beam.Pipeline(runner=RUNNER)
    results = pipeline | beam.Create(rows) | mmstream.Label(str(road.model), folder=str(road.folder / "data"))
    labels = results.labelled | beam.Map(lambda row: (row["id"], (row["group"], row["keywords"], row["caption"])))
    letters = results[DEAD_LETTERS] | beam.Map(lambda letter: (letter.id, letter.stage, letter.error))
    assert_that(labels, equal_to(list(expected_of(road, rows).items())), label="labels")
    failed = [("missing", "decode", "MediaError"), ("", "check", "MissingId"), ("broken", "decode", "ValueError")]
    assert_that(letters, equal_to(failed), label="letters")
    result = pipeline.run()
    result.wait_until_finish()
    assert counters(result) == {"labelled": 50, "dead_letters": 3}


def test_label_keeps_windows(road, pictures):
    def stamped(row):
        return beam.window.TimestampedValue(row, int(row["id"][1:]))

    with beam.Pipeline(runner=RUNNER) as pipeline:
        results = (
            pipeline
            | beam.Create(pictures(20))
            | beam.Map(stamped)
            | beam.WindowInto(beam.window.FixedWindows(10))
            | mmstream.Label(str(road.model), folder=str(road.folder / "data"))
        )
        counts = results.labelled | beam.CombineGlobally(beam.combiners.CountCombineFn()).without_defaults()
        assert_that(counts, equal_to([10, 10]))


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("size", [1, None])
def test_a_model_handler_labels_in_run_inference(road, rows, keyed, size):
    folder = road.folder / "data"
    given = [{**r, "image": str(folder / r["image"]) if isinstance(r["image"], str) else r["image"]} for r in rows]
    handler = mmstream.ModelHandler(str(road.model), **({} if size is None else {"batch_size": size}))
    pipeline = beam.Pipeline(runner=RUNNER)
    elements = [(number, row) for number, row in enumerate(given)] if keyed else given
    results = pipeline | beam.Create(elements) | RunInference(KeyedModelHandler(handler) if keyed else handler)
    plain = results | beam.Map(lambda one: one[1] if keyed else one)
    labels = (
        plain
        | beam.Filter(lambda one: isinstance(one.inference, dict) and "id" in one.example)
        | beam.Map(lambda one: one.inference)
        | beam.Map(lambda row: (row["id"], (row["group"], row["keywords"], row["caption"])))
    )
    assert_that(labels, equal_to(list(expected_of(road, rows).items())))
    result = pipeline.run()
    result.wait_until_finish()
    found = counters(result)
    assert (found["labelled"], found["dead_letters"]) == (50, 3)
    assert found["num_inferences"] == 53


@pytest.mark.slow
def test_preprocess_makes_what_train_needs(road, tmp_path):
    rows = emoji_rows(2000)[::16]
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(manifest="unread.jsonl"))
    for run_number in range(2):  # the second finds everything done
        with beam.Pipeline(runner=RUNNER) as pipeline:
            given = pipeline | beam.Create([*rows, rows[0], {"image": "no_id.png"}])
            about = given | mmstream.Preprocess(
                str(config), output=str(tmp_path / "examples"), folder=str(road.folder / "data"), parts=2
            )
            counts = about | beam.Map(lambda one: (one["read"], one["examples"], one["dead_letters"], one["skipped"]))
            done = (len(rows) + 2, len(rows), 2, 0) if run_number == 0 else (len(rows) + 2, 0, 2, len(rows) + 2)
            assert_that(counts, equal_to([done]))
    assert json.loads((tmp_path / "examples" / "preprocess.json").read_text())["splits"]["train"] > 0
    assert not (tmp_path / "examples" / "scratch").exists()
    assert run("train", config, "--examples", tmp_path / "examples", "--output", tmp_path / "model", "--tiny") == 0


def test_a_pipeline_that_is_only_built_opens_no_output(road, tmp_path):
    output = tmp_path / "examples"
    pipeline = beam.Pipeline(runner=RUNNER)
    pipeline | beam.Create(emoji_rows(3)) | mmstream.Preprocess(str(road.config), output=str(output), parts=2)
    assert not (output / "parts").exists()
    assert not (output / "runs").exists()


def test_an_output_that_was_cut_otherwise_since_the_pipeline_was_built_is_refused(road, tmp_path):
    output = tmp_path / "examples"
    pipeline = beam.Pipeline(runner=RUNNER)
    pipeline | beam.Create(emoji_rows(3)) | mmstream.Preprocess(str(road.config), output=str(output), parts=2)
    ownership.open_output(str(output), "preprocess", 8 * parts.RECORDS_PER_PART)
    with pytest.raises(Exception, match="8 parts, but this pipeline was built for 2"):
        pipeline.run().wait_until_finish()
