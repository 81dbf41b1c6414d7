"""Fields, sources and sinks, sound and wrong."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmstream.errors import MmstreamError
from mmstream.interfaces import Field, LabelType, Row, SimilarityHash, Sink, Source, Split, TensorSpec, Tokenizer


class SoundField(Field):
    """A short series of numbers, up to `length` of them."""

    media = True

    def __init__(self, *, length: int = 2) -> None:
        self.length = length

    def decode(self, value: Any) -> dict[str, Any] | None:
        if not isinstance(value, bytes):
            raise TypeError(f"expected bytes; found {type(value).__name__}")
        if not value:
            return None
        series = [float(text) for text in value.decode("ascii").split(",")]
        if not np.isfinite(series).all() or len(series) > self.length:
            raise ValueError(f"not at most {self.length} finite numbers")
        return {"series": np.array(series + [0.0] * (self.length - len(series)), np.float32)}

    def spec(self, fitted: Any) -> dict[str, TensorSpec]:
        return {"series": TensorSpec((self.length,), "float32")}

    def given(self, decoded: Any) -> float:
        return float(decoded["series"].sum())

    def count_linear_features(self, fitted: Any) -> int:
        return self.length

    def linear_features(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        return {"dense": tensors["series"]}


class MiscountingField(SoundField):
    """Its linear features are fewer than it says."""

    def count_linear_features(self, fitted: Any) -> int:
        return self.length + 1


class KeyErrorField(SoundField):
    """A value that it does not know ends the whole job."""

    def decode(self, value: Any) -> dict[str, Any] | None:
        return super().decode({b"1,2": b"1,2", b"3": b"3", b"": b"", b"x": b"x"}[value])


class HeavyField(SoundField):
    """Its constructor imports TensorFlow."""

    def __init__(self, *, length: int = 2) -> None:
        import tensorflow as tf

        super().__init__(length=int(tf.constant(length)))


class RestlessField(SoundField):
    """Gives something else each time."""

    calls = itertools.count()

    def decode(self, value: Any) -> dict[str, Any] | None:
        decoded = super().decode(value)
        return decoded and {"series": decoded["series"] + np.float32(next(self.calls))}


class UnpicklableField(SoundField):
    """Holds what no other process can have."""

    def __init__(self, *, length: int = 2) -> None:
        super().__init__(length=length)
        self.convert = lambda text: float(text)


class OversizeField(SoundField):
    """Its tensors are not those of its spec."""

    def decode(self, value: Any) -> dict[str, Any] | None:
        decoded = super().decode(value)
        return decoded and {"series": decoded["series"].astype(np.float64)}


class UnevenHash(SimilarityHash):
    """Its hashes are not as long as it says."""

    size = 3

    def hash(self, decoded: Mapping[str, Any]) -> bytes | None:
        return b"ab"

    def bands(self, hashes: np.ndarray) -> np.ndarray:
        return hashes[:, :1].astype(np.uint64)

    def are_near(self, some: np.ndarray, others: np.ndarray) -> np.ndarray:
        return (some == others).all(1)


class UnevenlyHashedField(SoundField):
    """Its hashes cannot be compared."""

    similarity = UnevenHash()


LINES = 100


class SoundSource(Source):
    """Lines of text; one that is not ASCII is bad."""

    suffixes = (".txt",)

    def splits(self, path: str) -> list[Split]:
        lines = self.lines(path)
        return [Split(path, len(lines[n : n + LINES]), first=n + 1) for n in range(0, len(lines), LINES)]

    def read(self, split: Split) -> Any:
        for number, line in enumerate(self.lines(split.path)[split.first - 1 :][: split.rows], split.first):
            yield self.row(f"{Path(split.path).name}:{number}", line)

    def row(self, origin: str, line: bytes) -> Row:
        try:
            return Row(origin, {"line": line.decode("ascii")})
        except UnicodeDecodeError as error:
            return Row(origin, None, line, error)

    def lines(self, path: str) -> list[bytes]:
        try:
            return Path(path).read_bytes().splitlines()
        except OSError as error:
            raise MmstreamError(f"cannot read {path}") from error


class ForgettingSource(SoundSource):
    """Passes over what it cannot read."""

    def read(self, split: Split) -> Any:
        return (row for row in super().read(split) if row.error is None)


class MiscountingSource(SoundSource):
    """Numbers its rows anew in each split."""

    def read(self, split: Split) -> Any:
        for number, row in enumerate(super().read(split), 1):
            yield row._replace(origin=f"{row.origin.split(':')[0]}:{number}")


class SoundSink(Sink):
    """JSON."""

    suffix = ".json"

    def dumps(self, rows: Any, schema: Any) -> bytes:
        return json.dumps([{name: row.get(name) for name in schema} for row in rows]).encode()

    def loads(self, data: bytes, schema: Mapping[str, LabelType]) -> list[dict[str, Any]]:
        return json.loads(data)


class CountingSink(SoundSink):
    """Each file says how many were written before."""

    calls = itertools.count()

    def dumps(self, rows: Any, schema: Any) -> bytes:
        return super().dumps(rows, schema) + b" " * next(self.calls)


class HashingSink(SoundSink):
    """Columns stand in the order of a set of texts, which differs from process to process."""

    def dumps(self, rows: Any, schema: Any) -> bytes:
        return super().dumps(rows, {name: schema[name] for name in {*schema}})


class LossySink(SoundSink):
    """Drops what is null."""

    def loads(self, data: bytes, schema: Mapping[str, LabelType]) -> list[dict[str, Any]]:
        return [
            {name: value for name, value in row.items() if value is not None} for row in super().loads(data, schema)
        ]


class SoundTokenizer(Tokenizer):
    """The characters of a text, between marks."""

    tensor = "characters"
    longest = 64

    def files(self) -> dict[str, bytes]:
        return {"alphabet": b"any"}

    def open(self, files: Mapping[str, bytes]) -> None:
        assert files["alphabet"] == b"any"

    def encode(self, text: str, length: int) -> list[int]:
        return [0, *(2 + self.number(character) for character in text[: length - 2]), 1]

    def number(self, character: str) -> int:
        return ord(character)


class EndlessTokenizer(SoundTokenizer):
    def encode(self, text: str, length: int) -> list[int]:
        return super().encode(text, self.longest)


class HashingTokenizer(SoundTokenizer):
    def number(self, character: str) -> int:
        return hash(character) % 1000
