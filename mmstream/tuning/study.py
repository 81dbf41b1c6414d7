"""The trials of a search, and what to try next: an Optuna study in a journal file."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from mmstream.config.open_config import OpenConfig
from mmstream.config.open_values import Choice, Closed, OpenValue, combinations
from mmstream.tuning.trial_process import Outcome

_NAME = "mmstream"
_MOST_COMBINATIONS = 1000
"""Up to so many combinations of values, none is tried twice; with more of them, repetitions are rare."""
_WARM_UP_EPOCHS = 3
_WARM_UP_TRIALS = 5
"""No trial is pruned before it has trained so many epochs and so many others are complete."""
_FEWEST_COMPARED = 5
"""Shares of open values are computed from at least so many different values of the metric."""
_REPEATS, _SECONDS, _EPOCHS, _BEST, _MEASURED, _ERROR = (
    "repeats",
    "seconds",
    "epochs",
    "best_epoch",
    "measured",
    "error",
)
_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


@dataclasses.dataclass(frozen=True)
class Row:
    """A trial as users see it.

    Attributes:
        number: counted from 1.
        state: "complete", "pruned", "failed" or "unfinished".
        value: the value of the metric; None unless complete.
        epochs: how many were trained.
        best_epoch: the epoch whose weights count; 0 unless complete.
        seconds: how long it took.
        choices: what was chosen for each open value, by path.
        measured: all metrics on the validation split, by name.
        error: why it failed.
    """

    number: int
    state: str
    value: float | None
    epochs: int
    best_epoch: int
    seconds: float
    choices: Mapping[str, Choice]
    measured: Mapping[str, float]
    error: str


class Study:
    """The trials of a search. One process at a time may use it.

    Args:
        path: the journal file; continued if it exists.
        config: the config whose values are open.
        maximize: whether a higher value of the metric is better.
        seed: together with the earlier trials, it determines every choice.
        prunes: whether trials that are worse than the median of the others may be ended early.
    """

    def __init__(self, path: Path, config: OpenConfig, *, maximize: bool, seed: int, prunes: bool) -> None:
        _cut_torn_line(path)
        storage = JournalStorage(JournalFileBackend(str(path), lock_obj=_NoLock(str(path))))
        pruner = optuna.pruners.MedianPruner(n_startup_trials=_WARM_UP_TRIALS, n_warmup_steps=_WARM_UP_EPOCHS)
        with _quiet():
            self._study = optuna.create_study(
                storage=storage,
                study_name=_NAME,
                direction="maximize" if maximize else "minimize",
                pruner=pruner if prunes else optuna.pruners.NopPruner(),
                load_if_exists=True,
            )
        self._config = config
        self._seed = seed
        self._all = combinations(config.text.data, _MOST_COMBINATIONS)

    def rows(self) -> list[Row]:
        """Every trial, in the order in which they began; one that was killed is unfinished."""
        return [_row(number, trial) for number, trial in enumerate(self._shown(), 1)]

    def best(self) -> Row | None:
        """The best of the complete trials, the first of several; None if none is complete."""
        complete = [row for row in self.rows() if row.value is not None]
        sign = -1 if self._study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
        return min(complete, key=lambda row: sign * (row.value or 0.0), default=None)

    def next(self) -> Trial | None:
        """Begin a trial, or begin again with one that was interrupted; None if every combination has been tried."""
        running = [trial for trial in self._shown() if trial.state == TrialState.RUNNING]
        tried = [_row(0, trial).choices for trial in self._shown() if trial.state != TrialState.RUNNING]
        left = None if self._all is None else [each for each in self._all if each not in tried]
        if left == [] and not running:
            return None
        while True:
            number = running[0].number if running else len(self._study.trials)
            random = [self._seed, number]
            self._study.sampler = optuna.samplers.TPESampler(seed=int(np.random.default_rng(random).integers(2**31)))
            with _quiet():
                trial = optuna.Trial(self._study, running[0]._trial_id) if running else self._study.ask()
                closed = self._config.close(lambda one, trial=trial: _suggest(trial, one))  # type: ignore[misc]
            if left is None or dict(closed.choices) in left:
                place = next(n for n, each in enumerate(self._shown(), 1) if each.number == trial.number)
                return Trial(place, closed, trial)
            trial.set_user_attr(_REPEATS, True)
            self._study.tell(trial, state=TrialState.FAIL)
            running = []
            one = left[int(np.random.default_rng(random).integers(len(left)))]
            self._study.enqueue_trial(self._parameters(one))

    def finish(self, trial: Trial, outcome: Outcome, value: float | None, seconds: float) -> None:
        """Record what came of a trial.

        Args:
            trial: the trial.
            outcome: what came of it.
            value: of the metric; None unless it is complete.
            seconds: how long it took this time.
        """
        about = trial.about
        for name, fact in (
            (_SECONDS, round(about.user_attrs.get(_SECONDS, 0.0) + seconds, 2)),
            (_EPOCHS, outcome.epochs),
            (_BEST, outcome.best_epoch),
            (_MEASURED, {name: each for name, each in outcome.measured.items() if math.isfinite(each)}),
            (_ERROR, outcome.error),
        ):
            about.set_user_attr(name, fact)
        with _quiet():
            if value is not None:
                self._study.tell(about, value)
            elif outcome.state == "pruned":
                self._study.tell(about, state=TrialState.PRUNED)
            elif outcome.state != "unfinished":
                self._study.tell(about, state=TrialState.FAIL)

    def importance(self) -> dict[str, float]:
        """The share of each open value in the differences between complete trials; {} if too few are complete.

        Source: Watanabe et al., "PED-ANOVA: efficiently quantifying hyperparameter importance in arbitrary subspaces"
        (2023).
        """
        values = {row.value for row in self.rows() if row.value is not None}
        if len(values) < _FEWEST_COMPARED:
            return {}
        with _quiet():
            return {name: float(share) for name, share in optuna.importance.get_param_importances(self._study).items()}

    def _shown(self) -> list[FrozenTrial]:
        return [
            trial
            for trial in self._study.trials
            if _REPEATS not in trial.user_attrs and trial.state != TrialState.WAITING
        ]

    def _parameters(self, choices: Mapping[str, Choice]) -> dict[str, Any]:
        """The parameters of an Optuna trial for some choices."""
        candidates = {one.path: one.labels for one in self._config.open}
        return {path: candidates[path][int(n)] if candidates[path] else n for path, n in choices.items()}


@dataclasses.dataclass(frozen=True)
class Trial:
    """A trial that has begun.

    Attributes:
        number: counted from 1.
        closed: the config's data with the chosen values.
        about: the trial in Optuna.
    """

    number: int
    closed: Closed
    about: optuna.Trial

    def report(self, epoch: int, figure: float) -> bool:
        """Record the figure of an epoch; whether to end the trial there."""
        with _quiet():
            if epoch not in self.about.storage.get_trial(self.about._trial_id).intermediate_values:
                self.about.report(figure, epoch)
            return self.about.should_prune()


class _NoLock(JournalFileOpenLock):
    """No lock: the search holds its whole output, and a lock file would outlive a process that is killed."""

    def acquire(self) -> bool:
        """Do nothing."""
        return True

    def release(self) -> None:
        """Do nothing."""


def _suggest(trial: optuna.Trial, one: OpenValue) -> Choice:
    if one.candidates:
        return one.labels.index(trial.suggest_categorical(one.path, one.labels))
    low, high = one.bounds
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(one.path, low, high, log=one.log)
    return trial.suggest_float(one.path, low, high, log=one.log)


def _row(number: int, trial: FrozenTrial) -> Row:
    facts = trial.user_attrs
    return Row(
        number=number,
        state=_STATES.get(trial.state, "unfinished"),
        value=trial.value if trial.state == TrialState.COMPLETE else None,
        epochs=facts.get(_EPOCHS, len(trial.intermediate_values)),
        best_epoch=facts.get(_BEST, 0),
        seconds=facts.get(_SECONDS, 0.0),
        choices={path: _choice(trial, path) for path in trial.params},
        measured=facts.get(_MEASURED, {}),
        error=facts.get(_ERROR, ""),
    )


def _choice(trial: FrozenTrial, path: str) -> Choice:
    """What was chosen for an open value, from a trial's parameter: for `any`, the position of its label."""
    value = trial.params[path]
    domain: Any = trial.distributions[path]
    labels: Sequence[str] | None = getattr(domain, "choices", None)
    return labels.index(value) if labels is not None else value


def _cut_torn_line(path: Path) -> None:
    """Remove the beginning of a line whose writer was killed; Optuna would take it for part of the next line."""
    if path.exists():
        data = path.read_bytes()
        if not data.endswith(b"\n"):
            with path.open("r+b") as file:
                file.truncate(data.rfind(b"\n") + 1)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Optuna's log lines and warnings while the block runs."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
