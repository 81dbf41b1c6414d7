"""What an output of a million parts needs: nothing is named a million times, and small files are read together."""

from __future__ import annotations

import threading

import apache_beam as beam
import pytest

from mmstream.runtime.concurrency import at_once
from mmstream.stages.reading import RouteToParts


def size_with(parts: int) -> int:
    pipeline = beam.Pipeline()
    pipeline | beam.Create([]) | RouteToParts(parts)
    return len(pipeline.to_runner_api().SerializeToString())


def test_a_pipeline_does_not_grow_with_the_parts():
    assert abs(size_with(1_000_000) - size_with(4)) < 100


def test_files_are_read_several_at_a_time_and_come_in_order():
    meeting = threading.Barrier(8, timeout=30)

    def read(number: int) -> int:
        meeting.wait()
        return number

    assert list(at_once(read, range(64))) == list(range(64))


def test_who_stops_reading_or_fails_leaves_no_thread():
    before = threading.active_count()
    some = at_once(abs, range(1000))
    assert next(some) == 0
    some.close()
    with pytest.raises(ZeroDivisionError):
        list(at_once(lambda number: 1 // number, range(1000)))
    assert threading.active_count() == before
