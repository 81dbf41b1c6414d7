"""The records that flow through every job, and the letters that record why one failed."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import xxhash

from mmstream.spool import LARGE_BYTES, DamagedSpoolError, Spooled

SPLITS = ("train", "validation", "test")
DUPLICATE = "DuplicateId"
"""The error of a dead letter whose id stands elsewhere already."""

_LARGE_NUMBER_BITS = 4096
_MAX_DEPTH = 64
_CONTAINERS = (dict, list, tuple, Mapping)
_NUMBERED = re.compile(r"(.*):(\d+)", re.DOTALL)
_NOT_IN_A_LINE = re.compile("[\x85\u2028\u2029\ud800-\udfff]")
_STAND_INS = ({"base64"}, {"sha256", "bytes"}, {"dict"})
"""Keys of what stands for bytes, for what is too large, and for a dict that has such keys itself."""
_compact_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One row of a source that may be processed.

    Attributes:
        id: unique in its dataset; the origin where the source names no id column.
        origin: where it stands: "manifest.jsonl:12" or a path, relative to the input.
        columns: the row as read; media are references (a path or URI), never pixels.
    """

    id: str
    origin: str
    columns: Mapping[str, Any]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the constructor, in a third of the time that a dataclass with slots takes."""
        return Record, (self.id, self.origin, self.columns)


@dataclasses.dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record that failed, and why. Nothing in it depends on the run, so that equal input gives equal bytes.

    Attributes:
        id: "" where the row has none.
        origin: as in `Record`.
        stage: "read", "check", "decode", "predict" or "quarantine".
        field: the field at fault, or "".
        component: the component that raised, as "field:image", or "".
        error: the class of the error.
        message: its text, memory addresses masked.
        row: the raw row, so that it can be replayed.
        digest: of what was read of the record.
        fingerprint: of the model or preprocessing that refused it.
        input: number of the input that it stands in, where an output was fed from several.
    """

    id: str
    origin: str
    stage: str
    field: str
    component: str
    error: str
    message: str
    row: Any
    digest: str
    fingerprint: str = ""
    input: int = 0

    def to_json(self) -> str:
        """One line of a dead-letter file."""
        return json_line(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, line: str) -> DeadLetter:
        """The inverse of `to_json`."""
        return cls(**json.loads(line))


def printable(value: Any) -> Any:
    """A value as JSON can hold it: bytes as base64, long or very deep values by their digest, odd numbers as text.

    `from_printable` is its inverse, as far as there is one.

    >>> printable({"a": b"\\xff", "b": [1, float("nan")]})
    {'a': {'base64': '/w=='}, 'b': [1, 'nan']}
    """
    return _printable(value, _MAX_DEPTH)


class Large(NamedTuple):
    """Stands for a value that was too large, or too deep, to be kept.

    Attributes:
        sha256: of its bytes.
        size: how many there are.
    """

    sha256: str
    size: int


def from_printable(value: Any) -> Any:
    """The value that `printable` made this of, with `Large` for what is not there; odd numbers stay texts.

    >>> from_printable(printable({"a": b"\\xff", "b": {"base64": "/w=="}}))
    {'a': b'\\xff', 'b': {'base64': '/w=='}}
    """
    if isinstance(value, list):
        return [from_printable(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"base64"}:
        return base64.b64decode(value["base64"])
    if value.keys() == {"sha256", "bytes"}:
        return Large(value["sha256"], value["bytes"])
    inner = value["dict"] if value.keys() == {"dict"} else value
    return {key: from_printable(item) for key, item in inner.items()}


def _printable(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        if len(value) <= LARGE_BYTES // 4:  # no character has more than four bytes
            return _escaped(value)
        data = value.encode("utf-8", "surrogatepass")
        return _digest_alone(data) if len(data) > LARGE_BYTES else _escaped(value)
    if isinstance(value, Large):
        return {"sha256": value.sha256, "bytes": value.size}
    if isinstance(value, _CONTAINERS):
        if not depth:
            return _digest_alone(_nested(value).encode("utf-8", "surrogatepass"))
        if not isinstance(value, list | tuple):
            found = {_escaped(str(key)): _printable(item, depth - 1) for key, item in value.items()}
            return {"dict": found} if found.keys() in _STAND_INS else found
        return [_printable(item, depth - 1) for item in value]
    if isinstance(value, bytes):
        large = len(value) > LARGE_BYTES
        return _digest_alone(value) if large else {"base64": base64.b64encode(value).decode()}
    if isinstance(value, Spooled):
        return _printable_spooled(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and value.bit_length() > _LARGE_NUMBER_BITS:
        return hex(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return _escaped(str(value))


def _printable_spooled(value: Spooled) -> dict[str, Any]:
    """As the bytes themselves, unless they are gone."""
    if value.path and value.size <= LARGE_BYTES:
        with contextlib.suppress(FileNotFoundError, DamagedSpoolError):
            return {"base64": base64.b64encode(value.read()).decode()}
    return {"sha256": value.sha256, "bytes": value.size}


def _escaped(text: str) -> str:
    """The text with half surrogate pairs escaped, so that it can be encoded."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _digest_alone(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _nested(value: Any) -> str:
    try:
        return repr(value)
    except RecursionError:
        return "nested too deeply"


def json_line(value: Any) -> str:
    r"""A JSON-like value as one line, by whoever's idea of a line.

    What some readers take for a line's end (U+0085, U+2028, U+2029) is escaped; so is half a surrogate pair, as in the
    name of a file, which no encoding has.

    >>> print(json_line({"b": "cat\u2028", "a": 1}))
    {"a": 1, "b": "cat\u2028"}
    """
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return _NOT_IN_A_LINE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def digest_of(value: Any) -> str:
    """A digest of any JSON-like value; it never raises.

    >>> digest_of({"b": 1, "a": "x"}) == digest_of({"a": "x", "b": 1})
    True
    """
    return digest_of_bytes(_compact_json(printable(value)).encode("utf-8", "backslashreplace"))


def strong_digest_of(value: Any) -> str:
    """The digest of a JSON-like value that nobody can forge: half of a SHA-256, hexadecimal."""
    text = _compact_json(printable(value)).encode("utf-8", "backslashreplace")
    return hashlib.sha256(text).hexdigest()[:32]


def digest_of_bytes(data: bytes) -> str:
    """A digest of the bytes of a file: it tells whether they have changed, not who changed them.

    Source: XXH3, 128 bits, https://xxhash.com; some twenty times as fast as SHA-256, of whose strength against
    forgers nothing here is in need.
    """
    return xxhash.xxh3_128_hexdigest(data)


def hash_fraction(salt: str, key: str) -> float:
    """A stable number in [0, 1) for a key; another salt gives an unrelated number."""
    data = hashlib.sha256(f"{salt}\0{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(data[:8], "big") / 2**64


def split_of(key: str, validation: float, test: float) -> str:
    """The split of a record, by a hash of its id or group: "train", "validation" or "test".

    Args:
        key: the id, or the value that related records share.
        validation: share of the validation split, 0 to 1.
        test: share of the test split, 0 to 1.
    """
    place = hash_fraction("split", key)
    if place < validation:
        return "validation"
    return "test" if place < validation + test else "train"


def origin_key(origin: str) -> tuple[str, int]:
    """Sort key that puts line 9 of a file before line 10.

    >>> sorted(["b.jsonl:10", "b.jsonl:9", "a.png"], key=origin_key)
    ['a.png', 'b.jsonl:9', 'b.jsonl:10']
    """
    match = _NUMBERED.fullmatch(origin)
    return (match[1], int(match[2])) if match else (origin, 0)
