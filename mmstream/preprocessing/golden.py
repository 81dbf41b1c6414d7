"""Golden records: a few raw records kept with examples and model, to prove that every path gives equal results."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mmstream.errors import MmstreamError, describe
from mmstream.preprocessing.preprocessor import Preprocessor
from mmstream.records.media import Media
from mmstream.records.record import Record, json_line, printable
from mmstream.storage import files

RELATIVE_TOLERANCE = 1e-3
ABSOLUTE_TOLERANCE = 1e-3
PIXEL_TOLERANCE = 1


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far one named array is from the expected one.

    Attributes:
        name: such as "tensors/image/pixels" or "outputs/heads/group/logits".
        largest: largest absolute difference; infinite where shapes or finiteness differ.
        allowed: the tolerance that applies.
        within: whether every element is within the tolerance.
    """

    name: str
    largest: float
    allowed: float
    within: bool


def write_golden(output: str, records: Sequence[Record], preprocessor: Preprocessor, media: Media) -> None:
    """Write records and the media that they name to `golden/`, as a manifest that can be read like any other."""
    lines = []
    for record in records:
        columns = {c: record.columns.get(c) for read in preprocessor.columns.values() for c in read}
        for name, field in preprocessor.fields.items():
            for column in preprocessor.columns[name] if field.media else ():
                if record.columns.get(column) is not None:
                    data = preprocessor.read_media(name, record.columns[column], media, record.origin)
                    path = f"media/{hashlib.sha256(data).hexdigest()[:32]}"
                    files.write_bytes(files.join(output, "golden", path), data)
                    columns[column] = path
        lines.append(json_line({"id": record.id, **printable(columns)}))
    files.write_bytes(files.join(output, "golden", "records.jsonl"), "".join(f"{line}\n" for line in lines).encode())


def read_golden(folder: str) -> list[Record]:
    """The golden records of an output of preprocess, or of a model in training; [] if it has none.

    Raises:
        MmstreamError: they are damaged.
    """
    path = files.join(folder, "golden", "records.jsonl")
    return parse_records(files.read_bytes(path)) if files.exists(path) else []


def parse_records(data: bytes) -> list[Record]:
    """The records of golden/records.jsonl.

    Raises:
        MmstreamError: they are damaged.
    """
    records = []
    try:
        for number, line in enumerate(data.decode().splitlines(), 1):
            row = json.loads(line)
            records.append(Record(row["id"], f"golden/records.jsonl:{number}", row))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MmstreamError(f"the golden records are damaged: {describe(error)}") from error
    return records


def golden_media(folder: str) -> Media:
    """The media of golden records."""
    return Media(files.join(folder, "golden"), by_path=True)


def write_expected(folder: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the results of the golden records in training to golden/expected.npz."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    files.write_bytes(files.join(folder, "golden", "expected.npz"), buffer.getvalue())


def parse_expected(data: bytes) -> dict[str, np.ndarray]:
    """Parse golden/expected.npz: the results of the golden records in training, by name.

    Raises:
        MmstreamError: it is damaged.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise MmstreamError(f"golden/expected.npz is damaged: {describe(error)}") from error


def compare(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> list[Difference]:
    """Compare arrays by name; those that were not computed this time are left out.

    Integers must be equal, pixels (uint8) within one level, floats within rtol 1e-3 plus atol 1e-3 · max|x|.
    """
    return [_difference(name, expected[name], actual[name]) for name in sorted(expected) if name in actual]


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of nested dicts by their path, such as "heads/group/logits"."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", np.asarray(value)


def _difference(name: str, expected: np.ndarray, actual: np.ndarray) -> Difference:
    if expected.shape != actual.shape:
        return Difference(name, float("inf"), 0.0, False)
    if expected.size == 0:
        return Difference(name, 0.0, 0.0, True)
    if expected.dtype.kind in "iu":
        allowed = float(PIXEL_TOLERANCE if expected.dtype == np.uint8 else 0)
        largest = float(np.abs(expected.astype(np.int64) - actual.astype(np.int64)).max())
        return Difference(name, largest, allowed, largest <= allowed)
    expected, actual = expected.astype(np.float64), actual.astype(np.float64)
    if not np.isfinite(actual).all():
        return Difference(name, float("inf"), 0.0, False)
    scale = float(np.abs(expected).max())
    gap = np.abs(expected - actual)
    within = bool((gap <= RELATIVE_TOLERANCE * np.abs(expected) + ABSOLUTE_TOLERANCE * scale).all())
    return Difference(name, float(gap.max()), ABSOLUTE_TOLERANCE * scale, within)
