"""Parts and splits of a record, and the plan of an output."""

from __future__ import annotations

import json

import pytest

from mmstream.errors import MmstreamError
from mmstream.outputs import parts
from mmstream.records.record import split_of


def test_parts_and_splits_of_a_record_are_unrelated():
    ids = [f"r{n}" for n in range(4000)]
    in_part = [i for i in ids if parts.part_of(i, 2) == 0]
    tested = sum(split_of(i, 0.1, 0.1) == "test" for i in in_part) / len(in_part)
    assert 0.08 < tested < 0.12


@pytest.mark.parametrize(
    "content",
    [
        *("", "null", "[]", "{}", "{", '{"parts": 3, "command": "label"}', '{"parts": 0, "command": "label"}'),
        *(
            '{"parts": "4", "command": "label"}',
            '{"parts": 4, "command": "evaluate"}',
            '{"parts": 4.0, "command": "label"}',
        ),
        *('{"parts": true, "command": "label"}', '{"parts": 4, "command": "label", "more": 1}', "\udcff"),
    ],
)
def test_a_plan_that_is_none_is_named_with_a_way_out(tmp_path, content):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "plan.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(MmstreamError, match=r"parts/plan.json is damaged: .*`mmstream repair"):
        parts.read_plan(str(tmp_path))


def test_a_plan_is_read_as_it_was_written(tmp_path):
    plan = parts.Plan(parts=4, command="label")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "plan.json").write_text(json.dumps(plan.model_dump()))
    assert parts.read_plan(str(tmp_path)) == plan
    assert parts.read_plan(str(tmp_path / "nowhere")) is None
