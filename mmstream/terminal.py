"""What a person at the terminal reads: mmstream's own lines; what libraries say goes to a file."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import faulthandler
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from mmstream.errors import MmstreamError, UsageError, describe

Mode = Literal["text", "quiet", "json"]

_LIBRARIES = ("absl", "apache_beam", "py.warnings", "tensorflow")
_ENDING: dict[int, str] = {signal.SIGINT: "interrupted", signal.SIGTERM: "ended by SIGTERM"}
"""Signals that ask a command to end."""
_SLEEP_SECONDS = 0.1
_interrupted: int | None = None
_mode: Mode = "text"
_diverted = False
_logs_to_file = False


def set_mode(mode: Mode) -> None:
    """How this process speaks: "text", "quiet" (errors and results alone) or "json" (one object a line)."""
    global _mode
    _mode = mode


def is_interactive() -> bool:
    """Whether lines may be drawn over: text, on a terminal."""
    return _mode == "text" and sys.stderr.isatty()


def exit_code(parser: argparse.ArgumentParser, run: Callable[[], int]) -> int:
    """The exit code of a command: 0 done, 1 failed, 2 wrong usage, 3 more dead letters than allowed.

    Args:
        parser: of its command line.
        run: does it; an error that users can mend is shown to them.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _ENDING:
            signal.signal(number, _interrupt)
    try:
        return run()
    except UsageError as error:
        parser.error(describe(error))
    except (MmstreamError, OSError) as error:  # a full disk, a folder that may not be written
        fail(f"mmstream: {describe(error)}")
        return 1
    except (KeyboardInterrupt, RuntimeError):
        if _interrupted is None:
            raise
        return stopped(_interrupted)


class Ending:
    """Whether a signal has asked to end.

    Attributes:
        asked: it has.
    """

    def __init__(self) -> None:
        self.asked = False

    def wait(self, seconds: float) -> bool:
        """Sleep, at most until a signal asks to end; whether one has. (A handler must not set an Event.)"""
        until = time.monotonic() + seconds
        while not self.asked and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _SLEEP_SECONDS))
        return self.asked


@contextlib.contextmanager
def until_asked_to_end() -> Iterator[Ending]:
    """Let signals ask to end, while the block runs; a second one interrupts as ever."""
    ending = Ending()
    before = {number: signal.getsignal(number) for number in _ENDING}

    def ask(number: int, frame: FrameType | None) -> None:
        ending.asked = True
        signal.signal(number, before[number])

    try:
        for number in _ENDING:
            signal.signal(number, ask)
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stopped(number: int) -> int:
    """Say that a signal has ended the command; returns its exit code."""
    fail(f"mmstream: {_ENDING[number]}; the same command goes on from here")
    return 128 + number


def say(message: str, **facts: Any) -> None:
    """A line for the person at the terminal, on stderr: stdout is for results. The facts show in JSON alone."""
    if _mode != "quiet":
        _write("info", message, facts)


def fail(message: str) -> None:
    """A line that says what went wrong, in every mode."""
    _write("error", message, {})


def summary(title: str, rows: Mapping[str, Any]) -> None:
    """The table at the end of a command: what it did, a line each."""
    if _mode == "json":
        _write("info", title, dict(rows))
    else:
        width = max(map(len, rows))
        say(
            "\n".join(
                [title, *(f"  {name.replace('_', ' '):<{width}}  {shown(value)}" for name, value in rows.items())]
            )
        )


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A result as a table, on stdout; every cell is shown whole."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(Text(shown(value)) for value in row))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def shown(value: Any) -> str:
    """A value as people read it.

    >>> [shown(value) for value in (12345, 0.25, None, ["a", "b"])]
    ['12,345', '0.25', '-', 'a, b']
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(shown, value)) if isinstance(value, list | tuple) else str(value)


def divert_library_noise() -> None:
    """Keep what TensorFlow, Beam and absl say off the terminal, and Python's warnings; errors and output stay.

    The C++ side of TensorFlow writes to file descriptor 2 before its log level can be set. From now on that is a
    temporary file, while `sys.stderr` goes where it went. A crash of native code still prints its Python traceback.
    """
    global _diverted
    terminal = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    with tempfile.TemporaryFile() as sink:  # open for reading, too: `library_log` takes over what is in it
        os.dup2(sink.fileno(), 2)
    sys.stderr.flush()
    sys.stderr = terminal
    faulthandler.enable(terminal)
    _diverted = True
    logging.captureWarnings(True)
    quieten_loggers()


def quieten_loggers() -> None:
    """Let the Python side of TensorFlow, Beam and absl speak of errors only, unless a file takes what they say."""
    if not _logs_to_file:
        _set_level(logging.ERROR)


class _LogFile(logging.FileHandler):
    """A log that says nothing at the terminal when the disk is full: the job says so itself when it writes."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging calls
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)


@contextlib.contextmanager
def library_log(path: Path) -> Iterator[None]:
    """While the block runs, what libraries say goes to a local file.

    Python's loggers always; what native code writes to file descriptor 2 if `divert_library_noise` was called.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    others = list(root.handlers)  # some library or other has set one up that writes to the terminal
    root.handlers[:] = [handler]
    _set_level(logging.INFO)
    before = os.dup(2)
    if _diverted:
        with path.open("ab", buffering=0) as file:
            file.write(os.pread(2, os.fstat(2).st_size, 0))  # what was said since the start
            os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        root.handlers[:] = others
        handler.close()
        _set_level(logging.ERROR)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Let the main thread let go of what it holds; a Beam runner makes a RuntimeError of whatever is raised in it."""
    global _interrupted
    _interrupted = number
    raise KeyboardInterrupt


def _set_level(level: int) -> None:
    global _logs_to_file
    _logs_to_file = level < logging.ERROR
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(level)


def _write(level: str, message: str, facts: Mapping[str, Any]) -> None:
    if _mode == "json":
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        message = json.dumps(
            {"time": now, "level": level, "message": message, **facts}, ensure_ascii=False, default=str
        )
    print(message, file=sys.stderr, flush=True)  # noqa: T201 - this is the terminal output
