"""The small JSON files that jobs keep in an output. Each is validated when it is read."""

from __future__ import annotations

import functools
import json
from collections.abc import Hashable, Mapping
from typing import Any, TypeVar, cast

import pydantic

from mmstream.errors import DamagedFileError, MmstreamError
from mmstream.storage import files

T = TypeVar("T")
_SHOWN = 3
"""How many problems of a file a message names."""


def write_json(path: str, value: Mapping[str, Any]) -> None:
    """Write a JSON file, completely or not at all, with its keys in the given order."""
    files.write_bytes(path, json_bytes(value))


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Return the bytes that `write_json` writes.

    Raises:
        MmstreamError: a text in it, such as a file name, is not valid Unicode.
    """
    try:
        return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()
    except UnicodeEncodeError as error:
        text = error.object[max(error.start - 60, 0) : error.end + 20]
        raise MmstreamError(f"a name is not valid UTF-8: {text!r}; rename the file or folder") from error


def load(output: str, name: str, kind: type[T]) -> T | None:
    """Read and validate a JSON file of an output; return None if there is none.

    Args:
        output: the output directory.
        name: the path of the file, below the output.
        kind: the type of its content: a pydantic model, or a typed dict.

    Raises:
        DamagedFileError: it holds something else.
        OSError: it exists, or may exist, and cannot be read.
    """
    try:
        data = files.read_if_there(files.join(output, name))
    except IsADirectoryError as error:
        raise DamagedFileError(output, name, "it is a folder") from error
    if data is None:
        return None
    try:
        return cast(T, _adapter(cast(Hashable, kind)).validate_json(data, strict=True))
    except pydantic.ValidationError as error:
        raise DamagedFileError(output, name, _problems(error)) from error


@functools.cache
def _adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(kind)


def _problems(error: pydantic.ValidationError) -> str:
    problems = []
    for each in error.errors(include_url=False, include_input=False, include_context=False)[:_SHOWN]:
        place = ".".join(map(str, each["loc"]))
        problems.append(f"{place:.100}: {each['msg']:.200}" if place else f"{each['msg']:.200}")
    more = error.error_count() - len(problems)
    return "; ".join(problems) + (f"; and {more} more" if more > 0 else "")
