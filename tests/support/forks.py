"""Commands in processes of their own, which may die: forked from one that has imported Keras, for that takes long."""

from __future__ import annotations

import importlib
import multiprocessing
import sys

from small_road import run


def run_planted(module: str, code: str, *command: object) -> int | None:
    """The exit code of an `mmstream` command, -9 where SIGKILL has ended it.

    Args:
        module: that is imported before the command runs.
        code: defines `plant(module)`, which is called then, as by `planting.plant`.
        command: its words.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keras"])
    process = context.Process(target=_run, args=(module, code, [str(word) for word in command]))
    process.start()
    process.join()
    return process.exitcode


def _run(module: str, code: str, command: list[str]) -> None:
    names: dict[str, object] = {}
    exec(code, names)
    names["plant"](importlib.import_module(module))  # type: ignore[operator]
    sys.exit(run(*command))
