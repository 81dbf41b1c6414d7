"""The errors that users see as they are."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")


class MmstreamError(Exception):
    """Something the user can mend; the command line prints its message and nothing else (exit code 1)."""


class ConfigError(MmstreamError):
    """The configuration has problems; the message lists all of them, each with its path and line."""


class UsageError(MmstreamError):
    """The command line is wrong (exit code 2)."""


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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or TensorFlow could not get the memory that they asked for."""
    return isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"


def choices(asked: str, known: Iterable[str]) -> str:
    """The tail of a "no such name" message: the nearest match and what exists.

    >>> choices("cn", ["cnn", "gru"])
    "Did you mean 'cnn'? There is: cnn, gru."
    """
    names = sorted(known)
    close = difflib.get_close_matches(asked, names, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}There is: {', '.join(names) or 'nothing'}."
