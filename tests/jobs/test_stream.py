"""The keyed writer of `mmstream label --streaming`: what a runner delivers again, in other batches, changes nothing."""

from __future__ import annotations

import json
import pickle

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from small_road import read_lines, read_rows, snapshot

from beam_jobs import running
from mmstream.errors import MmstreamError
from mmstream.inputs.input import Input
from mmstream.interfaces.streams import Publisher
from mmstream.outputs import commits, lock, ownership
from mmstream.records.record import DeadLetter, Record
from mmstream.stages import stream
from mmstream.stages.shared_model import SharedModel
from mmstream.storage import files

RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
sent: list[tuple[str, str]] = []


class Remembered(Publisher):
    """Keeps what is published."""

    scheme = "memory"

    def open(self, uri):
        assert uri == "memory://here"

    def publish(self, rows, letters):
        sent.extend(("label", row["id"]) for row in rows)
        sent.extend(("dead_letter", letter.id) for letter in letters)

    def close(self):
        pass


@pytest.fixture
def deliver(road, tmp_path, monkeypatch):
    """Gives items to the writer, as one bundle of a runner; returns the output."""
    monkeypatch.setattr(stream, "publisher_for", lambda uri: Remembered())
    sent.clear()
    out = tmp_path / "out"
    plan = ownership.open_output(str(out), "label", 4000)
    job_input = Input("jsonl", {}, str(road.folder / "data" / "sample.jsonl"), "id")

    def write(*items, run="run", parts_before=0):
        with lock.held(str(out), "run"), running.pipeline(PipelineOptions(runner=RUNNER)) as pipeline:
            model = SharedModel(str(road.model), embeddings=False)
            written = stream.LabelStream(
                model=model,
                sink="parquet",
                sink_options={},
                job_input=job_input,
                output=str(out),
                run=run,
                parts=plan.parts,
                threads=2,
                latency=1.0,
                stall_seconds=60.0,
                publish="memory://here",
            )
            if parts_before:
                written._keyed = lambda item: (stream.part_of_item(item, parts_before), pickle.dumps(item))
                written.parts = 2 * parts_before
            pipeline | beam.Create(items, reshuffle=False) | written
        return out

    return write


@pytest.fixture
def records(pictures):
    return [Record(row["id"], f"sample.jsonl:{number}", row) for number, row in enumerate(pictures(40), 1)]


def test_every_part_is_committed_and_what_comes_again_is_left_alone(deliver, records):
    out = deliver(*records[:30])
    assert len(list(out.glob("parts/part-*.json"))) == 4
    before = snapshot(out, "labels", "parts", "dead_letters")
    assert sorted(sent) == [("label", record.id) for record in records[:30]]
    assert snapshot(deliver(*records[10:20], *records[:5]), "labels", "parts", "dead_letters") == before
    assert len(sent) == 30
    deliver(*records[20:])
    assert [row["id"] for row in read_rows(out)] == [record.id for record in records]
    assert len(sent) == 40


def test_who_comes_second_with_an_id_is_a_dead_letter_also_when_both_come_again(deliver, records):
    first = records[0]
    second = Record(first.id, "sample.jsonl:41", {**records[1].columns, "id": first.id})
    deliver(first)
    out = deliver(second)
    for items in ((second,), (first,), (second, first)):
        deliver(*items)
        (row,), (letter,) = read_rows(out), read_lines(out / "dead_letters")
        assert (row["_origin"], letter["origin"], letter["error"]) == (first.origin, second.origin, "DuplicateId")
    assert sent == [("label", first.id), ("dead_letter", first.id)]


def test_a_row_that_has_changed_is_labelled_again_where_it_stands(deliver, records):
    first, second = records[:2]
    deliver(first, second)
    changed = Record(first.id, first.origin, {**second.columns, "id": first.id})
    out = deliver(changed)
    one, two = read_rows(out)
    assert one["_digest"] == two["_digest"]
    assert len(sent) == 3
    assert read_lines(out / "dead_letters") == []


def test_what_another_input_has_left_is_replaced(deliver, records):
    moved = Record(records[0].id, "gone.jsonl:7", records[0].columns)
    deliver(moved)
    (row,) = read_rows(deliver(records[0]))
    assert row["_origin"] == records[0].origin


def test_letters_of_rows_that_are_no_records_stay(deliver, records):
    letters = [
        DeadLetter(origin=f"sample.jsonl:{n}", stage="read", error="ValueError", message="no", row="", digest="")
        for n in (50, 51)
    ]
    deliver(letters[0], *records[:3])
    out = deliver(letters[1])
    assert sorted(each["origin"] for each in read_lines(out / "dead_letters")) == ["sample.jsonl:50", "sample.jsonl:51"]
    assert len(sent) == 5


def test_what_is_sent_and_then_not_committed_is_sent_again(deliver, records, monkeypatch):
    commit_part = commits.commit_part

    def full(output, part, fingerprint, counts, *args, **kwargs):
        if counts["labelled"]:  # the other parts, which may come first, are committed
            raise OSError("the disk is full")
        return commit_part(output, part, fingerprint, counts, *args, **kwargs)

    deliver()
    with monkeypatch.context() as patched:
        patched.setattr(commits, "commit_part", full)
        with pytest.raises((OSError, MmstreamError), match="the disk is full"):
            deliver(records[0])
    assert len(read_rows(deliver(records[0]))) == 1
    assert sent == [("label", records[0].id)] * 2


def test_of_a_place_that_comes_twice_at_once_the_last_counts(deliver, records):
    first, second = records[:2]
    changed = Record(first.id, first.origin, {**second.columns, "id": first.id})
    letter = DeadLetter(origin="sample.jsonl:50", stage="read", error="ValueError", message="no", row="", digest="")
    out = deliver(first, second, changed, letter, second, letter)
    one, two = read_rows(out)
    assert one["_digest"] == two["_digest"]
    assert len(read_lines(out / "dead_letters")) == 1


def test_a_part_that_cannot_be_read_is_not_written_anew(deliver, records, monkeypatch):
    out = deliver(*records[:30])
    before = snapshot(out, "labels", "parts")
    read = files.read_bytes

    def refuse(path):
        if "/out/labels/" in path:
            raise OSError("a passing error")
        return read(path)

    with monkeypatch.context() as patched:
        patched.setattr(files, "read_bytes", refuse)
        with pytest.raises((OSError, MmstreamError), match="a passing error"):
            deliver(records[30])
    assert snapshot(out, "labels", "parts") == before
    assert len(read_rows(deliver(records[30]))) == 31


def test_state_from_before_a_repartition_is_refused(deliver, records, tmp_path):
    out = deliver(*records[:3])
    plan = json.loads((out / "parts" / "plan.json").read_text())
    (out / "parts" / "plan.json").write_text(json.dumps({**plan, "parts": 8}))
    with pytest.raises(MmstreamError, match="was repartitioned after this savepoint"):
        deliver(*records, parts_before=4)


def test_who_no_longer_holds_the_output_publishes_nothing(deliver, records, tmp_path):
    deliver()
    with pytest.raises(MmstreamError, match="was taken over"):
        deliver(records[0], run="another")
    assert sent == []
