"""The records that flow through every job, and the dead letters that say why one failed."""

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

from mmstream.errors import RecordError, describe
from mmstream.records.spool import LARGE_BYTES, DamagedSpoolError, Spooled

SPLITS = ("train", "validation", "test")
DUPLICATE = "DuplicateId"
"""The error of a dead letter whose id belongs to another record."""

_SPELLINGS = re.compile(
    r"(?P<before>.*?[ _.-]|\d+)??"
    r"(?:(?P<train>train|training)|(?P<validation>val|valid|validation|dev|development|public[ _-]?test)"
    r"|(?P<test>test|testing|tst|eval|evaluation|holdout|private[ _-]?test|pred|predict|prediction))"
    r"(?:[ _.-]*(?:set|split|data|images?|imgs?|pics?|pictures?|photos?|folder|dir|files?|of|\d+(?!\d)))*",
    re.DOTALL,
)
_LONGEST_SPELLING = 60
"""In characters; a longer text names no split."""
_LARGE_NUMBER_BITS = 4096
_MAX_DEPTH = 64
_CONTAINERS = (dict, list, tuple, Mapping)
_NUMBERED = re.compile(r"(.*):(\d+)", re.DOTALL)
_NOT_IN_A_LINE = re.compile("[\x85\u2028\u2029\ud800-\udfff]")
_STAND_INS = ({"base64"}, {"sha256", "bytes"}, {"dict"})
"""Keys of the objects that replace bytes, values that are too large, and dicts that themselves have such keys."""
_compact_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One row of a source, to be processed.

    Attributes:
        id: unique in its dataset; the origin if the source names no id column.
        origin: where the row is, such as "manifest.jsonl:12" or a path, relative to the input.
        columns: the row as read; media are references (a path or URI), never pixels.
    """

    id: str
    origin: str
    columns: Mapping[str, Any]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a constructor call, three times as fast as the default for dataclasses with slots."""
        return Record, (self.id, self.origin, self.columns)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record that failed, and why. Nothing in it depends on the run, so equal input gives equal bytes.

    Attributes:
        id: the record's id; "" if the row has none.
        origin: as in `Record`.
        stage: "read", "check", "decode", "predict" or "quarantine".
        field: the field at fault, or "".
        component: the component that raised the error, such as "field:image", or "".
        error: the class of the error.
        message: the error's text, with memory addresses masked.
        row: the raw row, so that it can be replayed.
        digest: a digest of what was read of the record.
        fingerprint: the fingerprint of the model or preprocessing that rejected it.
        input: the number of the input that it comes from, if the output has several.
    """

    id: str = ""
    origin: str
    stage: str
    field: str = ""
    component: str = ""
    error: str
    message: str
    row: Any
    digest: str
    fingerprint: str = ""
    input: int = 0

    def to_json(self) -> str:
        """Write the dead letter as one line of a file."""
        return json_line(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, line: str) -> DeadLetter:
        """Read a dead letter from a line that `to_json` wrote."""
        return cls(**json.loads(line))


def printable(value: Any) -> Any:
    """Convert a value for JSON: bytes to base64, large or very deep values to their digest, NaN and infinities to text.

    `from_printable` reverses this as far as possible.

    >>> printable({"a": b"\\xff", "b": [1, float("nan")]})
    {'a': {'base64': '/w=='}, 'b': [1, 'nan']}
    """
    return _printable(value, _MAX_DEPTH)


class Large(NamedTuple):
    """Stands for a value that was too large, or nested too deeply, to be kept.

    Attributes:
        sha256: the SHA-256 of its bytes.
        size: the number of bytes.
    """

    sha256: str
    size: int


def from_printable(value: Any) -> Any:
    """Undo `printable`: what it did not keep becomes `Large`; NaN and infinities stay texts.

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
            plain = {_escaped(str(key)): _printable(item, depth - 1) for key, item in value.items()}
            return {"dict": plain} if plain.keys() in _STAND_INS else plain
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
    """Convert a spooled value to base64, like other bytes; if its file is gone, to its digest."""
    if value.path and value.size <= LARGE_BYTES:
        with contextlib.suppress(FileNotFoundError, DamagedSpoolError):
            return {"base64": base64.b64encode(value.read()).decode()}
    return {"sha256": value.sha256, "bytes": value.size}


def _escaped(text: str) -> str:
    """Escape lone surrogates, so that the text can be encoded."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _digest_alone(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _nested(value: Any) -> str:
    try:
        return repr(value)
    except RecursionError:
        return "nested too deeply"


def json_line(value: Any) -> str:
    r"""Write a JSON-like value as one line that no reader takes for several lines.

    U+0085, U+2028 and U+2029, which some readers take for line endings, are escaped; so are lone surrogates, which
    occur in file names that are not valid UTF-8.

    >>> print(json_line({"b": "cat\u2028", "a": 1}))
    {"a": 1, "b": "cat\u2028"}
    """
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return _NOT_IN_A_LINE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def digest_of(value: Any) -> str:
    """Return a digest of any JSON-like value; never raises.

    >>> digest_of({"b": 1, "a": "x"}) == digest_of({"a": "x", "b": 1})
    True
    """
    return digest_of_bytes(_compact_json(printable(value)).encode("utf-8", "backslashreplace"))


def strong_digest_of(value: Any) -> str:
    """Return an unforgeable digest of a JSON-like value: half of its SHA-256, in hexadecimal."""
    text = _compact_json(printable(value)).encode("utf-8", "backslashreplace")
    return hashlib.sha256(text).hexdigest()[:32]


def digest_of_bytes(data: bytes) -> str:
    """Return a digest that shows whether a file's bytes have changed; it does not protect against forgery.

    Source: XXH3, 128 bits, https://xxhash.com; about twenty times as fast as SHA-256.
    """
    return xxhash.xxh3_128_hexdigest(data)


def hash_fraction(salt: str, key: str) -> float:
    """Map a key to a stable number in [0, 1); another salt gives an unrelated number."""
    data = hashlib.sha256(f"{salt}\0{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(data[:8], "big") / 2**64


def split_of(key: str, validation: float, test: float) -> str:
    """Choose a record's split by a hash of its id or group: "train", "validation" or "test".

    Args:
        key: the id, or the value that related records share.
        validation: share of the validation split, 0 to 1.
        test: share of the test split, 0 to 1.
    """
    place = hash_fraction("split", key)
    if place < validation:
        return "validation"
    return "test" if place < validation + test else "train"


def split_named(value: Any) -> str | None:
    """Return the split that a text names in any usual spelling: train, validation or test; None if it names none.

    A word or number before the name is ignored, and so are numbers and words such as "set" after it. "predict" is the
    test split; a public test is the validation split, and a private test is the test split.

    >>> [split_named(text) for text in ("Training", "val", "dev", "test_set", "val2017", "cat", 1)]
    ['train', 'validation', 'validation', 'test', 'validation', None, None]
    >>> [split_named(text) for text in ("01_train", "seg_test", "PublicTest", "PrivateTest", "pretest")]
    ['train', 'test', 'validation', 'test', None]
    """
    if not isinstance(value, str) or len(value) > _LONGEST_SPELLING:
        return None
    match = _SPELLINGS.fullmatch(value.strip().lower())
    if match is None or split_named((match["before"] or "").strip(" _.-")):  # two, as in "train val", count as none
        return None
    return next(split for split in SPLITS if match[split])


def split_of_file(origin: str) -> str | None:
    """Return the split named by a record's path: by the first folder that names one, or else by the file.

    >>> split_of_file("data/train/metadata.jsonl:12"), split_of_file("test-00000-of-00002.parquet:3")
    ('train', 'test')
    >>> split_of_file("rows.csv:1")
    """
    *folders, name = origin.split("/")
    return next(filter(None, map(split_named, (*folders, name.partition(".")[0]))), None)


def origin_key(origin: str) -> tuple[str, int]:
    """Return a sort key that puts line 9 of a file before line 10.

    >>> sorted(["b.jsonl:10", "b.jsonl:9", "a.png"], key=origin_key)
    ['a.png', 'b.jsonl:9', 'b.jsonl:10']
    """
    match = _NUMBERED.fullmatch(origin)
    return (match[1], int(match[2])) if match else (origin, 0)


def dead_letter(record: Record, error: RecordError, digest: str, fingerprint: str) -> DeadLetter:
    """Make the dead letter of a record that failed."""
    return DeadLetter(
        id=record.id,
        origin=record.origin,
        stage=error.stage,
        field=error.field,
        component=error.component,
        error=error.error,
        message=describe(error),
        row=printable(record.columns),
        digest=digest,
        fingerprint=fingerprint,
    )
