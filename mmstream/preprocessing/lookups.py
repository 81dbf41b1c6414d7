"""Counting how many of the values to be labelled are in the model's vocabularies.

A value that is not in its vocabulary is read as unknown. If most values of a column are unknown, it is probably not the
column that the model was trained on, or its values are spelled differently.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from mmstream.errors import listed

if TYPE_CHECKING:
    from mmstream.preprocessing.preprocessor import Decoded, Preprocessor

_SHOWN = 3
"""How many values are given as examples."""
_LONGEST = 80
"""The most characters of an example."""
_FEWEST = 20
"""Fewer values than this cause no warning."""


class Looked(TypedDict):
    """The values of a column that were looked up in the vocabulary of a field.

    Attributes:
        values: how many there were.
        unknown: how many of them are not in the vocabulary.
        examples: some of the unknown ones.
        vocabulary: some entries of the vocabulary, the most frequent first.
    """

    values: int
    unknown: int
    examples: list[str]
    vocabulary: list[str]


Counts = dict[str, dict[str, Looked]]
"""Counts by field and column; if a field joins several columns, the key is their names with commas."""


class Lookups:
    """Counts the values of many batches; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counts = {}

    def add(self, preprocessor: Preprocessor, rows: Sequence[Decoded]) -> None:
        """Count the values of a batch of decoded records."""
        counts = {name: _looked_up(preprocessor, name, rows) for name in preprocessor.fields}
        with self._lock:
            self._counts = merged(self._counts, counts)

    def counts(self) -> Counts:
        """The counts so far."""
        with self._lock:
            return self._counts


def _looked_up(preprocessor: Preprocessor, name: str, rows: Sequence[Decoded]) -> dict[str, Looked]:
    """The values of a field that were looked up, by column; {} if it has no vocabulary."""
    field, columns = preprocessor.fields[name], preprocessor.columns[name]
    values: dict[int, list[str]] = {}
    for row in rows:
        decoded = row[name]
        for place, texts in enumerate(field.looked_up(decoded) if decoded is not None else ()):
            values.setdefault(place, []).extend(texts)
    by_column = len(values) == len(columns)
    vocabulary, terms = preprocessor.vocabularies[name], preprocessor.fitted[name].vocabulary
    looked_up = {}
    for place, texts in values.items():
        unknown = [text for text in texts if text not in vocabulary]
        of_column = (
            term for term in terms if not by_column or len(columns) == 1 or term.startswith(f"{columns[place]}=")
        )
        looked_up[columns[place] if by_column else ", ".join(columns)] = Looked(
            values=len(texts),
            unknown=len(unknown),
            examples=_some(unknown),
            vocabulary=_some(of_column) if unknown else [],
        )
    return looked_up


def merged(*several: Counts) -> Counts:
    """The sum of several counts."""
    total: Counts = {}
    for counts in several:
        for name, columns in counts.items():
            for column, each in columns.items():
                before = total.setdefault(name, {}).get(column)
                total[name][column] = _sum(before, each) if before else each
    return total


def warnings(counts: Counts) -> Iterator[str]:
    """A warning for each column with most of its values missing from the vocabulary."""
    for name, columns in counts.items():
        for column, each in columns.items():
            if each["values"] >= _FEWEST and 2 * each["unknown"] > each["values"]:
                unknown, entries = _quoted(each["examples"]), _quoted(each["vocabulary"]) or "nothing"
                yield (
                    f"{each['unknown']:,} of {each['values']:,} values in {listed([column])} (field {name}) are "
                    f"unknown to the model, such as {unknown}; it knows {entries}. "
                    "Is this the column that the model was trained on, and are its values spelled the same way?"
                )


def _sum(one: Looked, other: Looked) -> Looked:
    return Looked(
        values=one["values"] + other["values"],
        unknown=one["unknown"] + other["unknown"],
        examples=_some([*one["examples"], *other["examples"]]),
        vocabulary=one["vocabulary"] or other["vocabulary"],
    )


def _some(texts: Iterable[str]) -> list[str]:
    """The first few distinct texts, long ones shortened."""
    some: dict[str, None] = {}
    for text in texts:
        some[text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"] = None
        if len(some) == _SHOWN:
            break
    return list(some)


def _quoted(texts: Sequence[str]) -> str:
    return listed(f"{text!r}" for text in texts)
