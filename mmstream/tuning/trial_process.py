"""The search's side of a trial: starts its process, follows its epochs, and ends it if it is not worth its time."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NotRequired

import pydantic
from typing_extensions import TypedDict

from mmstream.config.schema import Config
from mmstream.errors import MmstreamError
from mmstream.runtime import scratch
from mmstream.storage import files
from mmstream.storage.json_files import load, write_json
from mmstream.supervision.children import Children, cause
from mmstream.tuning import trial

_STATE = f"{trial.MODEL}/training/state.json"
_NEVER = float("inf")


class _Result(TypedDict):
    """result.json of a trial; see `mmstream.tuning.trial`."""

    __pydantic_config__ = pydantic.ConfigDict(extra="forbid")  # type: ignore[misc]

    epochs: NotRequired[int]
    best_epoch: NotRequired[int]
    measured: NotRequired[dict[str, float]]
    error: NotRequired[str]
    stop: NotRequired[bool]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        state: "complete"; "pruned"; "failed"; or "unfinished", as the time was up.
        epochs: how many were trained.
        best_epoch: the epoch whose weights the model has; 0 without a model.
        measured: the metrics on the validation split, by name; {} unless complete.
        error: why it failed; "" unless it did.
    """

    state: Literal["complete", "pruned", "failed", "unfinished"]
    epochs: int = 0
    best_epoch: int = 0
    measured: Mapping[str, float] = dataclasses.field(default_factory=dict)
    error: str = ""


def run(
    folder: Path,
    config: Config,
    examples: str,
    *,
    report: Callable[[Mapping[str, float]], bool],
    seconds: float | None,
) -> Outcome:
    """Train a config in a process of its own, from the start.

    Args:
        folder: the folder of the trial; what an interrupted try has left in it is removed, because a training that
            continues after an interruption sees other batches than one that was not interrupted.
        config: the config to train.
        examples: output of `mmstream preprocess`.
        report: called with the row of each epoch, in order; whether to end the trial there.
        seconds: how long it may take; None for no limit.

    Raises:
        MmstreamError: the disk failed, which would also end the next trial.
    """
    if folder.exists():
        shutil.rmtree(folder)
    files.write_bytes(str(folder / trial.CONFIG), config.to_yaml().encode())
    write_json(str(folder / trial.ORDER), {"examples": files.absolute(examples)})
    end = _NEVER if seconds is None else time.monotonic() + seconds
    epochs = 0
    with scratch.folder() as notes:
        children = Children(notes, _NEVER)
        with children.start(["-m", "mmstream.tuning.trial", str(folder)]) as process:
            while True:
                code = children.wait(process)
                for row in _history(folder)[epochs:]:
                    epochs += 1
                    if report(row):
                        return Outcome("pruned", epochs)
                if code is not None:
                    return _outcome(folder, code, epochs)
                if time.monotonic() > end:
                    return Outcome("unfinished", epochs)


def _outcome(folder: Path, code: int, epochs: int) -> Outcome:
    result: Any = load(str(folder), trial.RESULT, _Result)
    if result is None:
        return Outcome("failed", epochs, error=_how_it_died(folder, code))
    if result.get("stop"):
        raise MmstreamError(f"{result['error']}; run the same command again to continue")
    if "error" in result:
        return Outcome("failed", epochs, error=result["error"])
    return Outcome("complete", result["epochs"], result["best_epoch"], result["measured"])


def _how_it_died(folder: Path, code: int) -> str:
    log = folder / trial.LOG
    if code < 0:
        return f"its process was ended by {cause(code)}; is this machine short of memory? {log} may say more"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
    return f"{lines[-1] if lines else f'exit code {code}'} ({log} has the whole error)"


def _history(folder: Path) -> list[dict[str, float]]:
    """The rows of the epochs that a trial has finished so far."""
    data = files.read_if_there(str(folder / _STATE))
    history: list[dict[str, float]] = json.loads(data)["history"] if data else []
    return history
