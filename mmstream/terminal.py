"""What a person at the terminal reads: mmstream's own lines; what libraries say goes to a file.

Everything that is printed passes through here, and no character of somebody's data reaches the terminal that it would
obey (`mmstream.escapes`).
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

from mmstream.errors import MmstreamError, UsageError, describe, is_out_of_memory
from mmstream.escapes import escaped, escaped_json, escaped_lines

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


class Parser(argparse.ArgumentParser):
    """A command line whose complaints are escaped: names of files stand on it, too."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line, and end with exit code 2."""
        super().error(escaped(message))


def exit_code(parser: argparse.ArgumentParser, run: Callable[[], int]) -> int:
    """The exit code of a command: 0 done, 1 failed, 2 wrong usage, 3 more dead letters than allowed.

    130 and 143 say that a signal has ended it.

    Args:
        parser: of its command line.
        run: does it; an error that users can mend is shown to them.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _ENDING:
            signal.signal(number, _interrupt)
        sys.excepthook = _show_traceback
    try:
        return run()
    except UsageError as error:
        parser.error(escaped(describe(error)))
    except (MmstreamError, OSError) as error:  # a full disk, a folder that may not be written
        fail(f"mmstream: {describe(error)}", lines=True)
        return 1
    except KeyboardInterrupt:  # also one that a library raised, of a signal that it took itself
        return stopped(_interrupted or signal.SIGINT)
    except Exception as error:
        if is_out_of_memory(error):
            fail(
                "mmstream: out of memory; the same command goes on from here: give it more memory, fewer --threads, "
                "or train with a smaller training.batch_size"
            )
            return 1
        if _interrupted is None or not isinstance(error, RuntimeError):
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


def say(message: str, *, lines: bool = False, **facts: Any) -> None:
    """A line for the person at the terminal, on stderr: stdout is for results. The facts show in JSON alone.

    Args:
        message: the line.
        lines: it is several, which mmstream itself has cut; otherwise a line end in it is of a value, and is escaped.
        facts: for programs that read JSON.
    """
    if _mode != "quiet":
        _write("info", message, facts, lines)


def fail(message: str, *, lines: bool = False) -> None:
    """A line (or several) that says what went wrong, in every mode."""
    _write("error", message, {}, lines)


def summary(title: str, rows: Mapping[str, Any]) -> None:
    """The table at the end of a command: what it did, a line each."""
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
    """A line of a command's result (or several), on stdout."""
    print(escaped_lines(text) if lines else escaped(text))  # noqa: T201 - this is the terminal output


def json_result(value: Any) -> None:
    """A command's result as JSON, on stdout."""
    print(escaped_json(json.dumps(value, indent=1, ensure_ascii=False)))  # noqa: T201 - this is the terminal output


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A result as a table, on stdout; every cell is shown whole."""
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(*(Column(Text(escaped(column))) for column in columns), box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(Text(shown(value)) for value in row))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def shown(value: Any) -> str:
    r"""A value as people read it, in one line.

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


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What Python shows of an error that nothing has caught; the values in it are strangers' as often as not."""
    text = "".join(traceback.format_exception(kind, error, trace))
    print(escaped_lines(text), end="", file=sys.stderr, flush=True)  # noqa: T201 - this is the terminal output


def _write(level: str, message: str, facts: Mapping[str, Any], lines: bool) -> None:
    if _mode == "json":
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        about = {"time": now, "level": level, "message": message, **facts}
        text = escaped_json(json.dumps(about, ensure_ascii=False, default=str))
    else:
        text = escaped_lines(message) if lines else escaped(message)
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is the terminal output
