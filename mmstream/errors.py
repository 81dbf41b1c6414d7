"""The errors that users see as they are."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from mmstream.escapes import escaped

_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
_MOST_NAMED = 20
"""A message names so many things at most, and says how many more there are."""
_MOST_COMPARED = 10_000
"""Among more names than this no near match is looked for: that takes as long as the names are many and long."""
_LONGEST_NAME = 80


class MmstreamError(Exception):
    """Something the user can mend; the command line prints its message and nothing else (exit code 1)."""


class ConfigError(MmstreamError):
    """The configuration has problems; the message lists all of them, each with its path and line."""


class UsageError(MmstreamError):
    """The command line is wrong (exit code 2)."""


class DamagedFileError(MmstreamError):
    """A file that a job keeps in its output is not what a job wrote there.

    Attributes:
        name: its path below the output.
        why: what is wrong with it.
    """

    def __init__(self, output: str, name: str, why: str) -> None:
        super().__init__(f"{output.rstrip('/')}/{name} is damaged: {why}. {repair_hint(output)}")
        self.name = name
        self.why = why


class RecordError(Exception):
    """One record cannot be processed; it becomes a dead letter and the job goes on.

    Attributes:
        stage: where it failed: "read", "check", "decode", "predict" or "quarantine".
        field: the field at fault, "" where no single one is.
        component: the plugin component that raised, as "field:image".
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
    """The message of an error with memory addresses masked, so that the same failure always reads the same.

    >>> describe(ValueError("cannot read <_io.BytesIO object at 0x7f33a8fbe700>"))
    'cannot read <_io.BytesIO object at 0x…>'
    """
    return _ADDRESS.sub("0x…", str(error).strip() or type(error).__name__)


def repair_hint(output: str) -> str:
    """What to do about an output with a damaged file."""
    return f"`mmstream repair {output}` mends what can be mended, and says what cannot"


def brief(value: object) -> str:
    """The beginning of a value as Python writes it, for a message; of a long text no more is looked at.

    >>> brief("cat")
    "'cat'"
    """
    return f"{value[:_LONGEST_NAME] if isinstance(value, str | bytes) else value!r:.{_LONGEST_NAME}}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or TensorFlow could not get the memory that they asked for."""
    return isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"


def choices(asked: str, known: Iterable[str]) -> str:
    """The tail of a "no such name" message: the nearest match and what exists.

    >>> choices("cn", ["cnn", "gru"])
    "Did you mean 'cnn'? There is: cnn, gru."
    """
    names = sorted(known)
    compared = [name for name in names[:_MOST_COMPARED] if len(name) <= _LONGEST_NAME]
    close = difflib.get_close_matches(asked[:_LONGEST_NAME], compared, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}There is: {listed(names) or 'nothing'}."


def listed(names: Iterable[str], most: int = _MOST_NAMED) -> str:
    """Names for a message: the first of them, each cut off where it is long, and how many more there are.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    names = [escaped(name) for name in names]
    shown = [name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…" for name in names[:most]]
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(shown) + more
