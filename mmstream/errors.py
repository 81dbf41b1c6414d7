"""Errors with messages written for users, and helpers for writing such messages."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from mmstream.text.escapes import escaped

_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
NO_SPACE = "No space left on device"
"""What the system says of a full disk."""
_MOST_NAMED = 20
"""A message names at most this many things, and says how many more there are."""
_MOST_COMPARED = 10_000
"""Among more names than this, no near match is sought, as that would take a long time."""
_LONGEST_NAME = 80
_LONGEST_DESCRIPTION = 500


class MmstreamError(Exception):
    """Something that the user can fix; the command line prints its message and nothing else (exit code 1)."""


class ConfigError(MmstreamError):
    """The configuration has problems; the message lists all of them, each with its path and line."""


class UsageError(MmstreamError):
    """The command line is wrong (exit code 2)."""


class DamagedFileError(MmstreamError):
    """A file that jobs keep in an output is not valid.

    Attributes:
        name: its path below the output.
        why: what is wrong with it.
    """

    def __init__(self, output: str, name: str, why: str) -> None:
        super().__init__(f"{output.rstrip('/')}/{name} is damaged: {why}. {repair_hint(output)}")
        self.name = name
        self.why = why


class RecordError(Exception):
    """One record cannot be processed; it becomes a dead letter, and the job continues.

    Attributes:
        stage: where it failed: "read", "check", "decode", "predict" or "quarantine".
        field: the field at fault; "" if no single field is.
        component: the component that raised the error, such as "field:image".
    """

    def __init__(self, message: str, *, stage: str, field: str = "", component: str = "", error: str = "") -> None:
        super().__init__(message)
        self.stage = stage
        self.field = field
        self.component = component
        self.error = error or type(self).__name__


class MediaError(ValueError):
    """A media file is missing, too large, not a plain file, or lies outside the allowed folders."""


def describe(error: BaseException) -> str:
    """Return an error's message with memory addresses masked, so that the same failure always reads the same.

    A long message is cut off, as libraries put whole values into theirs.

    >>> describe(ValueError("cannot read <_io.BytesIO object at 0x7f33a8fbe700>"))
    'cannot read <_io.BytesIO object at 0x…>'
    """
    text = str(error).strip() or type(error).__name__
    if len(text) > _LONGEST_DESCRIPTION:
        text = f"{text[:_LONGEST_DESCRIPTION]}… ({len(text):,} characters)"
    return _ADDRESS.sub("0x…", text)


def repair_hint(output: str) -> str:
    """Say what to do about an output with a damaged file."""
    return f"`mmstream repair {output}` rebuilds what can be rebuilt, and says what cannot"


def brief(value: object) -> str:
    """Return the beginning of a value's repr, for a message; the rest of a long text is not examined.

    >>> brief("cat")
    "'cat'"
    """
    return f"{value[:_LONGEST_NAME] if isinstance(value, str | bytes) else value!r:.{_LONGEST_NAME}}"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that Python or TensorFlow ran out of memory."""
    return isinstance(error, MemoryError) or (_is_exhausted(error) and not is_full_disk(error))


def is_full_disk(error: BaseException) -> bool:
    """Return whether TensorFlow, which has one error for full disks and full memory, encountered a full disk."""
    return _is_exhausted(error) and NO_SPACE in str(error)


def _is_exhausted(error: BaseException) -> bool:
    return type(error).__name__ == "ResourceExhaustedError"


def choices(asked: str, existing: Iterable[str]) -> str:
    """Write the end of a "no such name" message: the nearest match, and what exists.

    >>> choices("cn", ["cnn", "gru"])
    "Did you mean 'cnn'? Available: cnn, gru."
    """
    names = sorted(existing)
    compared = [name for name in names[:_MOST_COMPARED] if len(name) <= _LONGEST_NAME]
    close = difflib.get_close_matches(asked[:_LONGEST_NAME], compared, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}Available: {listed(names) or 'nothing'}."


def listed(names: Iterable[str], most: int = _MOST_NAMED) -> str:
    """List names for a message: the first few, long ones cut off, and how many more there are.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    names = [escaped(name) for name in names]
    shown = [name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…" for name in names[:most]]
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(shown) + more
