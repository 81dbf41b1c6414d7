"""The contract of a source."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mmstream.errors import MmstreamError
from mmstream.interfaces import PassedOver, Row, Source, Split
from mmstream.records.record import digest_of, printable
from mmstream.testing.component import LightContract


class SourceContract(LightContract):
    """A source accounts for every row, however its input is divided, and a bad row does not end the reading.

    Attributes:
        files: {path below a temporary folder: bytes}, with at least one bad row if files of this kind can have one.
        path: the path of the input below that folder; "" for the folder itself.
        rows: {origin: columns, or None for a bad row}, in order.
        cuts: {constant of the source's module: value}, with which it divides this input into several splits; {} for a
            source that never does.
    """

    kind = "source"
    files: ClassVar[Mapping[str, bytes]]
    path: ClassVar[str]
    rows: ClassVar[Mapping[str, Mapping[str, Any] | None]]
    cuts: ClassVar[Mapping[str, int]] = {}

    @pytest.fixture
    def input_path(self, tmp_path: Path) -> str:
        """The path of the input."""
        for name, data in self.files.items():
            path = tmp_path / "input" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return str(tmp_path / "input" / self.path) if self.path else str(tmp_path / "input")

    def test_reads_every_row_in_order_under_its_origin(self, input_path: str) -> None:
        rows = _read(self.build(), input_path)
        assert [row.origin for row in rows] == list(self.rows)
        assert {row.origin: row.columns for row in rows} == dict(self.rows)

    def test_a_bad_row_says_why_and_what_was_found(self, input_path: str) -> None:
        for row in _read(self.build(), input_path):
            if row.columns is None:
                assert isinstance(row.error, Exception)
                assert str(row.error)
                assert row.raw is not None
                digest_of(printable(row.raw))
            else:
                assert row.error is None
                assert all(type(column) is str for column in row.columns)

    def test_a_file_that_is_a_record_is_the_same_read_alone(self, input_path: str) -> None:
        source = self.build()
        if not source.files_are_records or self.path != "":
            pytest.skip("a file of this source holds many records, or the input is not a folder")
        for row in _read(source, input_path):
            (alone,) = source.read(Split(f"{input_path}/{row.origin}", 1, row.origin))
            assert _comparable(alone) == _comparable(row)

    def test_splits_say_how_many_rows_they_hold(self, input_path: str) -> None:
        source = self.build()
        for split in source.splits(input_path):
            assert split.rows == len(list(source.read(split)))

    def test_splits_can_be_pickled_and_read_by_another_worker(self, input_path: str) -> None:
        source = self.build()
        splits = source.splits(input_path)
        copied = pickle.loads(pickle.dumps(splits))
        assert copied == splits
        assert [_comparable(row) for split in copied for row in self.build().read(split)] == [
            _comparable(row) for row in _read(source, input_path)
        ]

    def test_an_input_that_is_cut_gives_the_same_rows(self, input_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        if not self.cuts:
            pytest.skip("the source never cuts its input")
        source = self.build()
        whole, splits = [_comparable(row) for row in _read(source, input_path)], source.splits(input_path)
        for constant, value in self.cuts.items():
            monkeypatch.setattr(sys.modules[type(source).__module__], constant, value)
        pieces = source.splits(input_path)
        assert len(pieces) > len(splits), "the constants in `cuts` do not make it cut its input"
        assert [split.rows for split in pieces] == [len(list(source.read(split))) for split in pieces]
        assert [_comparable(row) for split in pieces for row in source.read(split)] == whole

    def test_the_same_input_is_always_cut_in_the_same_way(self, input_path: str) -> None:
        assert self.build().splits(input_path) == self.build().splits(input_path)

    def test_what_it_passes_over_is_counted_and_named(self, input_path: str) -> None:
        source = self.build()
        source.splits(input_path)
        for each in source.passed_over:
            assert isinstance(each, PassedOver)
            assert each.reason
            assert all(isinstance(name, str) for name in each.first)
            assert 0 < len(each.first) <= each.total

    def test_reading_is_lazy(self, input_path: str) -> None:
        source = self.build()
        assert isinstance(source.read(source.splits(input_path)[0]), Iterator)

    def test_an_input_that_is_not_there_is_an_error_for_the_user(self, input_path: str) -> None:
        with pytest.raises(MmstreamError, match="no_such_input"):
            self.build().splits(f"{input_path}.no_such_input")

    def test_says_what_it_reads(self) -> None:
        source = self.build()
        assert source.suffixes
        assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in source.suffixes)


def _read(source: Source, path: str) -> list[Row]:
    return [row for split in source.splits(path) for row in source.read(split)]


def _comparable(row: Row) -> tuple[Any, ...]:
    """A row with its error as text, because errors that say the same are not equal objects."""
    return row.origin, row.columns, row.raw, repr(row.error)
