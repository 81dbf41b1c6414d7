"""The results of a search as tables and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmstream.config.open_values import ANY, Choice, OpenValue, close
from mmstream.plugins.catalogue import flow
from mmstream.tuning.goal import Goal
from mmstream.tuning.study import Row, Study


def about_search(study: Study, open_values: Sequence[OpenValue], goal: Goal) -> dict[str, Any]:
    """The content of trials.json.

    Returns:
        {"metric"; "direction": "maximize" or "minimize"; "best": the number of the best trial, or None; "trials": rows
        of {"trial", "state", "value", "epochs", "best_epoch", "seconds", "values": {path: value}, "measured", "error"};
        "importance": {path: share}}.
    """
    best = study.best()
    return {
        "metric": goal.metric,
        "direction": "maximize" if goal.maximize else "minimize",
        "best": best.number if best else None,
        "trials": [_trial(row, open_values) for row in study.rows()],
        "importance": study.importance(),
    }


def _trial(row: Row, open_values: Sequence[OpenValue]) -> dict[str, Any]:
    return {
        "trial": row.number,
        "state": row.state,
        "value": row.value,
        "epochs": row.epochs,
        "best_epoch": row.best_epoch or None,
        "seconds": row.seconds,
        "values": values_of(row.choices, open_values),
        "measured": dict(row.measured),
        "error": row.error or None,
    }


def values_of(choices: Mapping[str, Choice], open_values: Sequence[OpenValue]) -> dict[str, Any]:
    """What was chosen for each open value, by path; in a candidate that holds open values, they are chosen as well."""
    return {one.path: _value_of(one, choices) for one in open_values if one.path in choices}


def _value_of(one: OpenValue, choices: Mapping[str, Choice]) -> Any:
    choice = choices[one.path]
    if not one.candidates:
        return choice
    place = f"{one.path}.{ANY}[{choice}]"
    return close(one.candidates[int(choice)], lambda inner: choices[inner.path], place).data


def table(about: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """The columns and rows of the table of trials, the best first; then those that have no value.

    Args:
        about: the result of `about_search`.
    """
    paths = list(dict.fromkeys(path for trial in about["trials"] for path in trial["values"]))
    names = short_names(paths)
    sign = -1 if about["direction"] == "maximize" else 1
    trials = sorted(about["trials"], key=lambda t: (t["value"] is None, sign * (t["value"] or 0.0)))
    rows = [
        [
            trial["trial"],
            *(_shown(trial["values"][path]) if path in trial["values"] else "" for path in paths),
            trial["value"],
            trial["epochs"],
            f"{trial['seconds']:.0f}",
            f"failed: {trial['error']}" if trial["state"] == "failed" else trial["state"],
        ]
        for trial in trials
    ]
    return ["trial", *names, about["metric"], "epochs", "seconds", "state"], rows


def importance(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The rows of the table of importance."""
    return [(path, f"{share:.0%}") for path, share in about["importance"].items()]


def in_words(values: Mapping[str, Any]) -> str:
    """Chosen values on one line, such as "learning_rate 0.003, width 16"."""
    return ", ".join(
        f"{name} {_shown(value)}" for name, value in zip(short_names([*values]), values.values(), strict=True)
    )


def short_names(paths: Sequence[str]) -> list[str]:
    """The shortest ends of paths by which they can be told apart.

    >>> short_names(["model.width", "model.encoders.a.layers", "model.encoders.b.layers"])
    ['width', 'a.layers', 'b.layers']
    """
    ends = [[".".join(path.split(".")[-n:]) for n in range(1, path.count(".") + 2)] for path in paths]
    return [next((end for end in mine if sum(end in others for others in ends) == 1), mine[-1]) for mine in ends]


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else flow(value)


def warnings(about: Mapping[str, Any]) -> Iterator[str]:
    """What a user should know about the trials, as warnings."""
    failed = [trial for trial in about["trials"] if trial["state"] == "failed"]
    if failed:
        yield f"{len(failed)} of {len(about['trials'])} trials failed; trial {failed[0]['trial']}: {failed[0]['error']}"
