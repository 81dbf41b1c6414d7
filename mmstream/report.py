"""The report of an evaluation: one page that needs nothing else, beside metrics.json."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import numpy as np
from PIL import Image
from sklearn import metrics

from mmstream import figures, files
from mmstream.interfaces import Classes, Numbers, Outcome, Texts
from mmstream.terminal import shown

_SHOWN = 12
"""How many records a gallery shows."""
_SIDE = 96
"""Pixels of a picture in a gallery, at most."""


@dataclasses.dataclass(frozen=True)
class Card:
    """A record in a gallery.

    Attributes:
        id: of the record.
        picture: as a data URI; "" where the record has none.
        texts: of its text fields.
        wanted: what is true.
        found: what the head gave.
    """

    id: str
    picture: str
    texts: Sequence[str]
    wanted: str
    found: str


def write_report(
    path: str,
    about: Mapping[str, Any],
    outcomes: Mapping[str, Outcome],
    targets: Mapping[str, Any],
    specs: Mapping[str, Any],
) -> None:
    """Write the page.

    Args:
        path: of the page.
        about: what metrics.json says, with "model", "fingerprint", "history" (a row for each epoch) and "best_epoch".
        outcomes: by head.
        targets: the records' tensors and texts, as `evaluation.predict_split` gives them.
        specs: of the fields.
    """
    heads = [
        {
            "name": name,
            **about["heads"][name],
            "figures": list(_figures(about["heads"][name], outcomes[name])),
            "classes": list(_classes(outcomes[name])),
            "galleries": _galleries(outcomes[name], targets, specs),
        }
        for name in about["heads"]
    ]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mmstream", ""), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["shown"] = shown
    curves = figures.training(about["history"], about["best_epoch"])
    page = environment.get_template("report.html.j2").render(about=about, heads=heads, curves=curves)
    files.write_bytes(path, page.encode("utf-8", "backslashreplace"))


def _figures(head: Mapping[str, Any], outcome: Outcome) -> Sequence[tuple[str, str]]:
    """Titles and data URIs."""
    found = []
    if head["fields"]:
        found.append(("What each field contributes", figures.contributions(head["fields"], head["metric"])))
    if not len(outcome.rows):
        return found
    if isinstance(outcome, Classes):
        found.append(("Reliability", figures.reliability(outcome)))
        found.append(("Precision and recall", figures.precision_recall(outcome)))
        if outcome.exclusive:
            found.append(("Confusion", figures.confusion(outcome)))
    elif isinstance(outcome, Numbers):
        found += [
            (f"Given by true {n + 1}" if outcome.wanted.shape[1] > 1 else "Given by true", figures.scatter(*pair))
            for n, pair in enumerate(zip(outcome.wanted.T, outcome.found.T, strict=True))
        ]
    return found


def _classes(outcome: Outcome) -> Sequence[dict[str, Any]]:
    """A row for each class: support, precision, recall, F1 and average precision."""
    if not isinstance(outcome, Classes) or not len(outcome.rows):
        return []
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        outcome.wanted, outcome.found, average=None, zero_division=0
    )
    rows = []
    for place in np.argsort(-support, kind="stable"):
        average = metrics.average_precision_score(outcome.wanted[:, place], outcome.scores[:, place])
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
    """The records that came out best and worst."""
    order = np.argsort(-_quality(outcome), kind="stable")
    return {
        "Best": [_card(outcome, place, targets, specs) for place in order[:_SHOWN]],
        "Worst": [_card(outcome, place, targets, specs) for place in order[::-1][:_SHOWN]],
    }


def _quality(outcome: Outcome) -> np.ndarray:
    """float[N], 0 to 1: how near each row came to what was wanted."""
    if isinstance(outcome, Texts):
        return outcome.quality
    if isinstance(outcome, Numbers):
        errors = np.abs(outcome.wanted - outcome.found).mean(1)
        return 1 / (1 + errors / max(float(np.median(errors)), 1e-12)) if len(errors) else errors
    if outcome.exclusive:
        return (outcome.scores * outcome.wanted).sum(1)
    right, either = (outcome.wanted & outcome.found).sum(1), outcome.wanted.sum(1) + outcome.found.sum(1)
    return np.where(either > 0, 2 * right / np.maximum(either, 1), 1.0)


def _card(outcome: Outcome, place: int, targets: Mapping[str, Any], specs: Mapping[str, Any]) -> Card:
    row = int(outcome.rows[place])
    texts = [
        str(found["text"][row])
        for found in targets.values()
        if isinstance(found, Mapping) and "text" in found and found["present"][row] > 0
    ]
    wanted, found = (_told(outcome, values, place) for values in (outcome.wanted, outcome.found))
    return Card(str(targets["_id"][row]), _picture(targets, specs, row), texts, wanted, found)


def _told(outcome: Outcome, values: Any, place: int) -> str:
    if isinstance(outcome, Classes):
        return ", ".join(outcome.names[int(column)] for column in np.flatnonzero(values[place])) or "none"
    if isinstance(outcome, Numbers):
        return ", ".join(shown(float(value)) for value in values[place])
    return str(values[place])


def _picture(targets: Mapping[str, Any], specs: Mapping[str, Any], row: int) -> str:
    """The first field's tensor that is a picture, as a small PNG; "" where there is none."""
    for field, spec in specs.items():
        for tensor, (shape, dtype) in spec.items():
            if dtype == "uint8" and len(shape) == 3 and targets[field]["present"][row] > 0:
                picture = Image.fromarray(targets[field][tensor][row])
                picture.thumbnail((_SIDE, _SIDE))
                buffer = io.BytesIO()
                picture.save(buffer, "PNG")
                return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return ""
