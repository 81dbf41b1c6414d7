"""Errors which mean that the machine is at its limit, not that a file is bad."""

from __future__ import annotations

import errno

from mmstream.errors import MmstreamError

EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS))
"""Numbers of errors that concern this process or machine, not the file that was being read."""


def check_exhausted(error: BaseException, what: str) -> None:
    """Check that an error concerns the file that was being read, not this process or machine.

    Args:
        error: the error that occurred.
        what: what was being read, for the message.

    Raises:
        MmstreamError: it concerns the process or machine; the record is not at fault and must be tried again.
    """
    if isinstance(error, OSError) and error.errno in EXHAUSTED:
        reason = (error.strerror or str(error)).lower()
        raise MmstreamError(
            f"{reason} while reading {what}: the record is not at fault, so the job stops, and nothing is lost; raise "
            "the limit (`ulimit -n` for open files) or lower --threads, and run the same command again"
        ) from error
