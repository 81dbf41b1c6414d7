"""What a person at the terminal reads: mmstream's own lines, and not what libraries print at start-up."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import tempfile


def divert_library_noise() -> None:
    """Keep the messages of TensorFlow, Beam and absl off the terminal; errors and Python's own output stay.

    The C++ side of TensorFlow writes to file descriptor 2 before its log level can be set. From now on that is a
    temporary file, while `sys.stderr` goes where it went. A crash of native code still prints its Python traceback.
    """
    terminal = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
    sys.stderr.flush()
    sys.stderr = terminal
    faulthandler.enable(terminal)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    quieten_loggers()


def quieten_loggers() -> None:
    """Let the Python side of TensorFlow, Beam and absl speak of errors only."""
    for name in ("absl", "apache_beam", "tensorflow"):
        logging.getLogger(name).setLevel(logging.ERROR)


def say(message: str) -> None:
    """A line for the person at the terminal, on stderr: stdout is for results."""
    print(message, file=sys.stderr, flush=True)  # noqa: T201 - this is the terminal output
