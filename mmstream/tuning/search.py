"""The search: one trial after another, until their number or the time is reached."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
from typing_extensions import TypedDict

from mmstream import terminal
from mmstream.config.open_config import OpenConfig, load_open_config
from mmstream.errors import ConfigError, MmstreamError, UsageError, describe, listed
from mmstream.options.jobs import TuneOptions
from mmstream.outputs import lock, ownership, run_notes
from mmstream.storage import files
from mmstream.storage.json_files import load, write_json
from mmstream.training.made_with import fitted_to, read_about_examples
from mmstream.tuning import results, trial_process
from mmstream.tuning.best_config import best_config
from mmstream.tuning.goal import Goal, goal_of
from mmstream.tuning.study import Study, Trial
from mmstream.tuning.trial import MODEL
from mmstream.tuning.trial_process import Outcome

ABOUT, JOURNAL, TRIALS, BEST = "tune.json", "journal.log", "trials.json", "best.yaml"
"""Files of an output: what the search is about, its Optuna journal, its trials, and the best config."""
_MOST_FAILURES = 3
"""The search ends after so many failed trials in a row: the fault is probably not theirs."""
_GROWTH = "TF_FORCE_GPU_ALLOW_GROWTH"


class _AboutSearch(TypedDict):
    """tune.json: what must not change if a search is to be continued."""

    __pydantic_config__ = pydantic.ConfigDict(extra="forbid")  # type: ignore[misc]

    config: dict[str, Any]
    examples: str
    metric: str
    seed: int
    pruning: bool


def tune(config_path: str, overrides: Sequence[str], options: TuneOptions, *, tiny: bool = False) -> dict[str, Any]:
    """Search for the best values of a config's open values, or continue a search.

    Args:
        config_path: a config file with open values.
        overrides: such as "training.epochs=3".
        options: options of the search.
        tiny: try the config in seconds, on a few records.

    Returns:
        the content of trials.json; see `results.about_search`.

    Raises:
        MmstreamError: the config has problems, the examples do not fit it, the output holds another search, trials
            fail one after another, or none is complete.
        OSError: the disk failed.
    """
    if files.is_remote(options.output):
        raise UsageError("--output of `mmstream tune` must be a local folder")
    with _sharing_the_gpu():
        config = load_open_config(config_path, overrides, tiny=tiny)
        about_examples = read_about_examples(options.examples)
        fitted_to(config.variants[0], about_examples, options.examples)
        for split in ("train", "validation"):
            if not about_examples["splits"][split]:
                raise MmstreamError(f"{options.examples} has no {split} examples; a search needs both")
        goal = goal_of(config.variants, options.metric, options.examples)
    about: dict[str, Any] = {
        "config": {key: value for key, value in config.text.data.items() if key not in ("source", "resume")},
        "examples": about_examples["fingerprint"],
        "metric": goal.metric,
        "seed": options.seed,
        "pruning": options.pruning,
    }
    ownership.check_places(options.output)
    with lock.held(options.output, run_notes.new_run(), take_over=options.break_lock):
        _open_output(options.output, about)
        return _Search(config, overrides, options, goal, tiny=tiny).run()


class _Search:
    """A search, whose output it holds."""

    def __init__(
        self, config: OpenConfig, overrides: Sequence[str], options: TuneOptions, goal: Goal, *, tiny: bool
    ) -> None:
        self._config, self._overrides, self._options, self._goal = config, list(overrides), options, goal
        self._tiny = tiny
        self._output = Path(options.output)
        self._study = Study(
            self._output / JOURNAL, config, maximize=goal.maximize, seed=options.seed, prunes=options.pruning
        )

    def run(self) -> dict[str, Any]:
        failures = 0
        self._write()
        while self._left() and (seconds := self._seconds_left()) != 0:
            trial = self._study.next()
            if trial is None:
                terminal.say("every combination of the open values has been tried")
                break
            state = self._try(trial, seconds)
            self._write()
            if state == "unfinished":
                break
            failures = failures + 1 if state == "failed" else 0
            if failures == _MOST_FAILURES:
                raise MmstreamError(
                    f"{failures} trials in a row have failed, the last one because: {self._study.rows()[-1].error}"
                )
        if self._seconds_left() == 0:
            terminal.say(f"the time is up (--minutes {self._options.minutes:g})")
        if self._study.best() is None:
            raise MmstreamError("no trial is complete; allow more --trials or --minutes and run the same command again")
        return self._about()

    def _try(self, trial: Trial, seconds: float | None) -> str:
        """Train one trial and record what came of it; returns its state."""
        folder = self._output / "trials" / f"{trial.number:04d}"
        started = time.monotonic()
        outcome, value = Outcome("failed"), None
        try:
            config = self._config.config(trial.closed)

            def report(row: Mapping[str, float]) -> bool:
                return trial.report(int(row["epoch"]), self._goal.of_epoch(config, row))

            outcome = trial_process.run(folder, config, self._options.examples, report=report, seconds=seconds)
            if outcome.state == "complete":
                value = self._goal.value(outcome.measured)
        except ConfigError as error:
            outcome = Outcome("failed", error=describe(error))
        if value is not None and value != value:
            value, outcome = None, dataclasses.replace(outcome, state="failed", error=f"{self._goal.metric} is NaN")
        self._study.finish(trial, outcome, value, time.monotonic() - started)
        self._tell(trial)
        return outcome.state

    def _tell(self, trial: Trial) -> None:
        row = self._study.rows()[trial.number - 1]
        values = results.in_words(results.values_of(row.choices, self._config.open))
        what = f"{self._goal.metric} {row.value:.4g}" if row.value is not None else row.state
        best = self._study.best()
        so_far = f"; best so far: trial {best.number} with {best.value:.4g}" if best else ""
        why = f": {row.error}" if row.error else ""
        terminal.say(
            f"trial {row.number} of {self._options.trials}: {what} after {row.epochs} epochs and {row.seconds:.0f} s "
            f"({values}){why}{so_far}"
        )

    def _left(self) -> int:
        """The number of trials that are still to be finished."""
        return self._options.trials - sum(row.state != "unfinished" for row in self._study.rows())

    def _seconds_left(self) -> float | None:
        """The time that is left for all trials together; None without a limit."""
        if self._options.minutes is None:
            return None
        return max(60 * self._options.minutes - sum(row.seconds for row in self._study.rows()), 0)

    def _about(self) -> dict[str, Any]:
        return results.about_search(self._study, self._config.open, self._goal)

    def _write(self) -> None:
        """Write trials.json and best.yaml, and remove the models of all trials but the best."""
        best = self._study.best()
        write_json(str(self._output / TRIALS), self._about())
        if best:
            closed = self._config.close(lambda one: best.choices[one.path])
            text = best_config(
                self._config.text.path,
                self._overrides,
                closed,
                self._config.config(closed),
                tiny=self._tiny,
                about=f"trial {best.number} of `mmstream tune`: {self._goal.metric} {best.value:.6g} on the validation "
                "split",
            )
            files.write_bytes(str(self._output / BEST), text.encode())
        for folder in (self._output / "trials").glob("*"):
            if best is None or folder.name != f"{best.number:04d}":
                shutil.rmtree(folder / MODEL, ignore_errors=True)


def _open_output(output: str, about: Mapping[str, Any]) -> None:
    """Begin a search in its output, or continue it.

    Raises:
        MmstreamError: the output holds something else, or a search of other values, examples or settings.
    """
    earlier: Any = load(output, ABOUT, _AboutSearch)
    if earlier is None:
        if any(path.name != lock.FILE for path in Path(output).iterdir()):
            raise MmstreamError(f"{output} holds something that `mmstream tune` did not make; name another --output")
        write_json(files.join(output, ABOUT), about)
        return
    now: Any = json.loads(json.dumps(about))
    differ = [key for key in ("examples", "metric", "seed", "pruning") if earlier[key] != now[key]]
    differ += sorted(_differences(earlier["config"], now["config"], ""))
    if differ:
        raise MmstreamError(
            f"the search in {output} cannot continue, because these have changed since it began: {listed(differ)}; "
            "undo the changes, or name another --output"
        )


def _differences(then: Any, now: Any, path: str) -> Iterator[str]:
    """The paths of what differs between two configs."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in {**then, **now}:
            place = f"{path}.{key}" if path else key
            if key in then and key in now:
                yield from _differences(then[key], now[key], place)
            else:
                yield place
    elif then != now:
        yield path


@contextlib.contextmanager
def _sharing_the_gpu() -> Iterator[None]:
    """Let TensorFlow take only a little memory of a GPU in this process, if it first uses one in the block.

    Checking a config creates a few variables; by default, TensorFlow would take all memory for them, and leave none for
    the processes of the trials.
    """
    before = os.environ.get(_GROWTH)
    os.environ[_GROWTH] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_GROWTH]
        else:
            os.environ[_GROWTH] = before
