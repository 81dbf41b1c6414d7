"""Output to the terminal: mmstream's own lines; what libraries log goes to a file.

All output passes through here, where characters that would control the terminal are escaped (`mmstream.text.escapes`).
"""

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
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Literal, NoReturn

from mmstream.errors import MmstreamError, UsageError, describe, is_full_disk, is_out_of_memory
from mmstream.text.escapes import escaped, escaped_json, escaped_lines

Mode = Literal["text", "quiet", "json"]

_LOGGER = logging.getLogger("mmstream")
_LIBRARIES = ("absl", "apache_beam", "py.warnings", "tensorflow")
_ENDING: dict[int, str] = {signal.SIGINT: "interrupted", signal.SIGTERM: "ended by SIGTERM"}
"""Signals that ask a command to end, and how messages describe each."""
_SLEEP_SECONDS = 0.1
_interrupted: int | None = None
_mode: Mode | None = None
"""None until a command has begun: in somebody else's Python program, lines are logged, not printed."""
_diverted = False
_logs_to_file = False


def set_mode(mode: Mode) -> None:
    """Choose the form of output: "text", "quiet" (errors and results only) or "json" (one object per line)."""
    global _mode
    _mode = mode


def is_interactive() -> bool:
    """Return whether lines may be overwritten: only as text on a terminal."""
    return _mode == "text" and sys.stderr.isatty()


class Parser(argparse.ArgumentParser):
    """A command-line parser that escapes its error messages, as they may hold file names."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong with the command line, and exit with code 2."""
        super().error(escaped(message))


def exit_code(parser: argparse.ArgumentParser, run: Callable[[], int]) -> int:
    """Run a command; returns its exit code: 0 done, 1 failed, 2 wrong usage, 3 more dead letters than allowed.

    130 and 143 mean that a signal ended it.

    Args:
        parser: the parser of its command line.
        run: runs the command; errors that users can fix are shown as messages.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _ENDING:
            signal.signal(number, _interrupt)
        sys.excepthook = _show_traceback
    try:
        return run()
    except UsageError as error:
        parser.error(escaped(describe(error)))
    except (MmstreamError, OSError) as error:  # OSError: a full disk, a folder without permission
        fail(f"mmstream: {describe(error)}", lines=True)
        return 1
    except KeyboardInterrupt:  # also if a library raised it from its own signal handler
        return stopped(_interrupted or signal.SIGINT)
    except Exception as error:
        if is_full_disk(error):
            fail(f"mmstream: {describe(error)}", lines=True)
            return 1
        if is_out_of_memory(error):
            fail(
                "mmstream: out of memory; run the same command again to continue, with more memory or fewer --threads, "
                "or train with a smaller training.batch_size"
            )
            return 1
        if _interrupted is None or not isinstance(error, RuntimeError):
            raise
        return stopped(_interrupted)


class Ending:
    """Knows whether a signal has asked this process to end.

    Attributes:
        asked: whether one has.
    """

    def __init__(self) -> None:
        self.asked = False

    def wait(self, seconds: float) -> bool:
        """Sleep, but only until a signal asks the command to stop; returns whether one has.

        (A handler must not set an Event.)
        """
        until = time.monotonic() + seconds
        while not self.asked and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _SLEEP_SECONDS))
        return self.asked


@contextlib.contextmanager
def until_asked_to_end() -> Iterator[Ending]:
    """Let the first signal in the block only ask the command to stop; a second one interrupts as usual."""
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
    """Report that a signal has ended the command; returns its exit code."""
    fail(f"mmstream: {_ENDING[number]}; run the same command again to continue")
    return 128 + number


def warn(message: str) -> None:
    """Print a line about something that the user should check, in every mode; the command continues."""
    if _mode is None:
        _LOGGER.warning("%s", escaped(message))
    else:
        _write("warning", message if _mode == "json" else f"warning: {message}", {}, lines=False)


def say(message: str, *, lines: bool = False, **facts: Any) -> None:
    """Print a line on stderr, as stdout is for results. The facts appear only in JSON.

    Args:
        message: the line.
        lines: whether the message is several lines; otherwise its line breaks are part of a value, and are escaped.
        facts: for programs that read JSON.
    """
    if _mode is None:
        _LOGGER.info("%s", escaped(message))
    elif _mode != "quiet":
        _write("info", message, facts, lines)


def fail(message: str, *, lines: bool = False) -> None:
    """Print a line (or several) on what went wrong, in every mode."""
    if _mode is None:
        _LOGGER.error("%s", escaped(message))
    else:
        _write("error", message, {}, lines)


def summary(title: str, rows: Mapping[str, Any]) -> None:
    """Print the table at the end of a command: what it did, one line each."""
    if _mode == "json":
        _write("info", title, dict(rows), lines=False)
    else:
        names = {name: escaped(name.replace("_", " ")) for name in rows}
        width = max(map(len, names.values()))
        say(
            "\n".join([escaped(title), *(f"  {names[name]:<{width}}  {shown(value)}" for name, value in rows.items())]),
            lines=True,
        )


def result(text: str, *, lines: bool = False) -> None:
    """Print a command's result, or part of it, on stdout."""
    sys.stdout.write(f"{escaped_lines(text) if lines else escaped(text)}\n")


def json_result(value: Any) -> None:
    """Print a command's result as JSON, on stdout."""
    sys.stdout.write(f"{escaped_json(json.dumps(value, indent=1, ensure_ascii=False))}\n")


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a result as a table, on stdout; long cells are folded, not cut off."""
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(*(Column(Text(escaped(column)), overflow="fold") for column in columns), box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(Text(shown(value)) for value in row))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def shown(value: Any) -> str:
    r"""Format a value for people, in one line.

    >>> [shown(value) for value in (12345, 0.25, None, ["a", "b"])]
    ['12,345', '0.25', '-', 'a, b']
    >>> print(shown("\x1b[2J"))
    \x1b[2J
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(shown, value)) if isinstance(value, list | tuple) else escaped(str(value))


def divert_library_noise() -> None:
    """Keep messages of TensorFlow, Beam and absl, and Python's warnings, off the terminal, but not errors and output.

    The C++ side of TensorFlow writes to file descriptor 2 before its log level can be set. From now on, this descriptor
    is a temporary file, while `sys.stderr` is still the terminal. A crash of native code still prints a Python
    traceback.
    """
    global _diverted
    terminal = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    with tempfile.TemporaryFile() as sink:  # readable, too: `library_log` copies its content
        os.dup2(sink.fileno(), 2)
    sys.stderr.flush()
    sys.stderr = terminal
    faulthandler.enable(terminal)
    _diverted = True
    logging.captureWarnings(True)
    quieten_loggers()


def quieten_loggers() -> None:
    """Let the Python side of TensorFlow, Beam and absl log errors only, unless a log file is open."""
    if not _logs_to_file:
        _set_level(logging.ERROR)


class _LogFile(logging.FileHandler):
    """A log file that does not report a full disk on the terminal: the job does so itself when it writes."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging calls
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)


@contextlib.contextmanager
def library_log(path: Path) -> Iterator[None]:
    """Send messages of libraries to a local file while the block runs.

    Messages of Python's loggers are always sent there; those that native code writes to file descriptor 2 are only if
    `divert_library_noise` has been called.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    others = list(root.handlers)  # some library may have added one that writes to the terminal
    root.handlers[:] = [handler]
    _set_level(logging.INFO)
    before = os.dup(2)
    if _diverted:
        with path.open("ab", buffering=0) as file:
            file.write(os.pread(2, os.fstat(2).st_size, 0))  # what was written since the start
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
    """Unwind the main thread; a Beam runner turns anything that is raised in it into a RuntimeError."""
    global _interrupted
    _interrupted = number
    raise KeyboardInterrupt


def _set_level(level: int) -> None:
    global _logs_to_file
    _logs_to_file = level < logging.ERROR
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(level)


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of an uncaught error, escaped, as it may hold values from data."""
    sys.stderr.write(escaped_lines("".join(traceback.format_exception(kind, error, trace))))
    sys.stderr.flush()


def _write(level: str, message: str, facts: Mapping[str, Any], lines: bool) -> None:
    if _mode == "json":
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        about = {"time": now, "level": level, "message": message, **facts}
        text = escaped_json(json.dumps(about, ensure_ascii=False, default=str))
    else:
        text = escaped_lines(message) if lines else escaped(message)
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
