"""How a job shows its progress while it runs."""

from __future__ import annotations

import contextlib
import datetime
import threading
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from mmstream import terminal
from mmstream.outputs import run_notes

_LINE_SECONDS = 1
_MESSAGE_SECONDS = 30


@contextlib.contextmanager
def status(title: str) -> Iterator[Callable[[str], None]]:
    """Shows the state of a job that runs until stopped: one line on a terminal, otherwise an occasional message."""
    if terminal.is_interactive():
        with Console(stderr=True).status("") as line:
            yield lambda facts: line.update(Text(f"{title}: {facts}"))
        return
    said, when = "", -float(_MESSAGE_SECONDS)

    def show(facts: str) -> None:
        nonlocal said, when
        if facts != said and time.monotonic() - when >= _MESSAGE_SECONDS:
            said, when = facts, time.monotonic()
            terminal.say(f"{title}: {facts}")

    yield show


@contextlib.contextmanager
def progress(title: str, output: str, run: str, rows: int) -> Iterator[None]:
    """Show the progress of a run until the block ends: one line on a terminal, otherwise an occasional message.

    Args:
        title: title of the line.
        output: directory of the output, in which parts note what they have done.
        run: the run's start.
        rows: number of records.
    """
    started = time.monotonic()
    noted = run_notes.Totals(output, run)
    ended = threading.Event()
    interactive = terminal.is_interactive()

    def follow(show: Callable[[int, str], None]) -> None:
        while not ended.wait(_LINE_SECONDS if interactive else _MESSAGE_SECONDS):
            totals = noted.read()
            done, letters = totals["read"], totals["dead_lettered"]
            rate = done / (time.monotonic() - started)
            left = datetime.timedelta(seconds=round((rows - done) / rate)) if rate else "?"
            show(done, f"{done:,}/{rows:,} records · {rate:,.0f}/s · {left} left · {letters:,} dead letters")

    with contextlib.ExitStack() as stack:
        if interactive:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[facts]}"))
            bar = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
            task = bar.add_task(title, total=rows, facts="")
            show = lambda done, facts: bar.update(task, completed=done, facts=facts)  # noqa: E731
        else:
            show = lambda done, facts: terminal.say(f"{title}: {facts}")  # noqa: E731
        thread = threading.Thread(target=follow, args=(show,), name="progress")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
