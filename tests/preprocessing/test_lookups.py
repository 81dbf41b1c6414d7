"""Which of the values that are labelled a model knows is counted by column, over batches and threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from mmstream.config.schema import FieldConfig
from mmstream.interfaces import Fitted
from mmstream.preprocessing.lookups import Lookups, merged, warnings
from mmstream.preprocessing.preprocessor import Preprocessor


@pytest.fixture
def preprocessor():
    """Of a text in two columns and of tags, fitted to a few values."""
    fields = {
        "text": FieldConfig.model_validate({"use": "text", "columns": ["title", "body"], "length": 4}),
        "tags": FieldConfig.model_validate({"use": "tags", "column": "keywords"}),
        "size": FieldConfig.model_validate({"use": "number", "column": "size"}),
    }
    made = Preprocessor(fields)
    made.__dict__["fitted"] = {"text": Fitted((" a", " cat")), "tags": Fitted(("dog", "cat")), "size": Fitted()}
    return made


def decoded(preprocessor, *rows):
    return [preprocessor.decode(dict(zip(("text", "tags", "size"), row, strict=True))) for row in rows]


def test_the_words_of_a_text_and_the_tags_are_counted_by_column(preprocessor):
    lookups = Lookups()
    lookups.add(preprocessor, decoded(preprocessor, (["a cat", None], ["dog", "x" * 200], 1), (None, None, None)))
    lookups.add(preprocessor, decoded(preprocessor, (["猫", "a"], [], 2), (None, ["yak", "cat"], 3)))
    assert lookups.counts() == {
        "text": {"title, body": {"values": 4, "unknown": 1, "examples": ["猫"], "vocabulary": [" a", " cat"]}},
        "tags": {
            "keywords": {"values": 4, "unknown": 2, "examples": ["x" * 80 + "…", "yak"], "vocabulary": ["dog", "cat"]}
        },
    }


def test_threads_may_share_the_counts(preprocessor):
    lookups, batch = Lookups(), decoded(preprocessor, *[(["a dog", None], ["dog", "yak"], 1)] * 50)
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(lookups.add, preprocessor, batch) for _ in range(40)]:
            done.result()
    tags = lookups.counts()["tags"]["keywords"]
    assert (tags["values"], tags["unknown"]) == (4000, 2000)
    doubled = merged(lookups.counts(), lookups.counts())["tags"]["keywords"]
    assert (doubled["values"], doubled["unknown"], doubled["examples"]) == (8000, 4000, ["yak"])


@pytest.mark.parametrize(("values", "unknown", "told"), [(20, 11, 1), (20, 10, 0), (19, 19, 0), (2000, 1001, 1)])
def test_it_is_told_where_most_of_twenty_values_or_more_are_unknown(values, unknown, told):
    looked = {"values": values, "unknown": unknown, "examples": ["\x1b[2J"], "vocabulary": []}
    lines = list(warnings({"tags": {"keywords": looked}}))
    assert len(lines) == told
    assert all(r"as '\x1b[2J'; it knows nothing." in line for line in lines)
