"""The report of an evaluation: one self-contained page, written beside metrics.json."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jinja2
import numpy as np
from PIL import Image
from sklearn import metrics

from mmstream.evaluation import plots, result_tables
from mmstream.evaluation.against_baselines import worse_than
from mmstream.evaluation.doubtful_report import DoubtfulRecords
from mmstream.interfaces import Classes, Numbers, Outcome, Texts
from mmstream.storage import files
from mmstream.terminal import shown

_SHOWN = 12
"""How many records a gallery shows."""
_SIDE = 96
"""The longest side of a picture in a gallery, in pixels."""


@dataclasses.dataclass(frozen=True)
class Alarm:
    """What the page shows first: a simple model is better than the network.

    Attributes:
        what: the head or the direction of retrieval.
        message: the warning.
        certain: whether the difference is significant.
    """

    what: str
    message: str
    certain: bool


@dataclasses.dataclass(frozen=True)
class Card:
    """A record in a gallery.

    Attributes:
        id: the id of the record.
        picture: its picture as a data URI; "" if it has none.
        texts: the values of its text fields.
        target: the true label.
        prediction: the label that the head gave.
    """

    id: str
    picture: str
    texts: Sequence[str]
    target: str
    prediction: str


def write_report(
    path: str,
    about: Mapping[str, Any],
    outcomes: Mapping[str, Outcome],
    targets: Mapping[str, Any],
    specs: Mapping[str, Any],
    doubtful: Sequence[DoubtfulRecords] = (),
) -> None:
    """Write the page.

    Args:
        path: the path of the page.
        about: the contents of metrics.json, with "model", "fingerprint", "history" (a row for each epoch) and
            "best_epoch".
        outcomes: each head's outcome, by head.
        targets: the records' tensors and texts, as `mmstream.evaluation.predictions` gives them.
        specs: the fields' specs.
        doubtful: the records whose labels are doubted.
    """
    heads = [
        {
            "name": name,
            **about["heads"][name],
            "plots": list(_plots(about["heads"][name], outcomes[name])),
            "classes": list(_classes(outcomes[name])),
            "galleries": _galleries(outcomes[name], targets, specs),
        }
        for name in about["heads"]
    ]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mmstream.evaluation", ""), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["shown"] = shown
    alarms = list(_alarms(about))
    page = environment.get_template("report.html.j2").render(
        about=about,
        heads=heads,
        alarms=alarms,
        warnings=[pair for pair in result_tables.warnings(about) if pair not in {(a.what, a.message) for a in alarms}],
        baselines=list(result_tables.baselines(about)),
        baseline_columns=result_tables.BASELINES,
        curves=plots.training(about["history"], about["best_epoch"]),
        doubtful=[{"about": each, "cards": each.cards(_picture)} for each in doubtful],
    )
    files.write_bytes(path, page.encode("utf-8", "backslashreplace"))


def _alarms(about: Mapping[str, Any]) -> Iterator[Alarm]:
    """Where a simple model is better, significant differences first."""
    found = [
        Alarm(what, message, figures["best_baseline"]["interval"][1] < 0)
        for what, figures in result_tables.measured(about).items()
        for message in worse_than(figures)
    ]
    yield from sorted(found, key=lambda alarm: not alarm.certain)


def _plots(head: Mapping[str, Any], outcome: Outcome) -> Sequence[tuple[str, str]]:
    """The titles and data URIs of the plots for a head."""
    titled = []
    if head["fields"]:
        titled.append(("What each field contributes", plots.contributions(head["fields"], head["metric"])))
    if not len(outcome.rows):
        return titled
    if isinstance(outcome, Classes):
        titled.append(("Reliability", plots.reliability(outcome)))
        titled.append(("Precision and recall", plots.precision_recall(outcome)))
        if outcome.exclusive:
            titled.append(("Confusion", plots.confusion(outcome)))
    elif isinstance(outcome, Numbers):
        titled += [
            (
                f"Predicted against true {n + 1}" if outcome.targets.shape[1] > 1 else "Predicted against true",
                plots.scatter(*pair),
            )
            for n, pair in enumerate(zip(outcome.targets.T, outcome.predictions.T, strict=True))
            if not np.isnan(pair[0]).all()
        ]
    return titled


def _classes(outcome: Outcome) -> Sequence[dict[str, Any]]:
    """A row for each class: support, precision, recall, F1 and average precision."""
    if not isinstance(outcome, Classes) or not len(outcome.rows):
        return []
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        outcome.targets, outcome.predictions, average=None, zero_division=0
    )
    rows = []
    for place in np.argsort(-support, kind="stable"):
        average = metrics.average_precision_score(outcome.targets[:, place], outcome.scores[:, place])
        rows.append(
            {
                "name": outcome.names[place],
                "support": int(support[place]),
                "precision": float(precision[place]),
                "recall": float(recall[place]),
                "f1": float(f1[place]),
                "ap": float(average) if support[place] else None,
            }
        )
    return rows


def _galleries(outcome: Outcome, targets: Mapping[str, Any], specs: Mapping[str, Any]) -> dict[str, list[Card]]:
    """The records with the best and the worst predictions of a head."""
    order = np.argsort(-_quality(outcome), kind="stable")
    return {
        "Best": [_card(outcome, place, targets, specs) for place in order[:_SHOWN]],
        "Worst": [_card(outcome, place, targets, specs) for place in order[::-1][:_SHOWN]],
    }


def _quality(outcome: Outcome) -> np.ndarray:
    """float[N], 0 to 1: how near each prediction is to its target."""
    if isinstance(outcome, Texts):
        return outcome.quality
    if isinstance(outcome, Numbers):
        errors = np.nanmean(np.abs(outcome.targets - outcome.predictions), axis=1)
        return 1 / (1 + errors / max(float(np.median(errors)), 1e-12)) if len(errors) else errors
    if outcome.exclusive:
        return (outcome.scores * outcome.targets).sum(1)
    right, either = (outcome.targets & outcome.predictions).sum(1), outcome.targets.sum(1) + outcome.predictions.sum(1)
    return np.where(either > 0, 2 * right / np.maximum(either, 1), 1.0)


def _card(outcome: Outcome, place: int, targets: Mapping[str, Any], specs: Mapping[str, Any]) -> Card:
    row = int(outcome.rows[place])
    texts = [
        str(tensors["text"][row])
        for tensors in targets.values()
        if isinstance(tensors, Mapping) and "text" in tensors and tensors["present"][row] > 0
    ]
    target, prediction = (_label(outcome, values, place) for values in (outcome.targets, outcome.predictions))
    return Card(str(targets["_id"][row]), _picture(targets, specs, row), texts, target, prediction)


def _label(outcome: Outcome, values: Any, place: int) -> str:
    if isinstance(outcome, Classes):
        return ", ".join(outcome.names[int(column)] for column in np.flatnonzero(values[place])) or "none"
    if isinstance(outcome, Numbers):
        return ", ".join(shown(float(value)) for value in values[place])
    return str(values[place])


def _picture(targets: Mapping[str, Any], specs: Mapping[str, Any], row: int) -> str:
    """The first picture among a record's tensors, as a data URI of a small PNG; "" if there is none."""
    for field, spec in specs.items():
        for tensor, (shape, dtype) in spec.items():
            if dtype == "uint8" and len(shape) == 3 and targets[field]["present"][row] > 0:
                picture = Image.fromarray(targets[field][tensor][row])
                picture.thumbnail((_SIDE, _SIDE))
                buffer = io.BytesIO()
                picture.save(buffer, "PNG")
                return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return ""
