"""Suggestions of sources and fields for `mmstream init`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """How a field would read a column, or how a source would read an input, for `mmstream init`.

    Attributes:
        fit: 0 to 1; among several fields, the one that fits best is chosen.
        parameters: the parameters that a config would give it.
        why: what in the values supports it, such as "12 different texts in 500 rows"; for a source, what users are
            told.
        read: more parameters of a field that an encoder reads, as opposed to one that a head predicts.
        few: more parameters of such a field if there are only a few thousand records to learn from.
    """

    fit: float
    parameters: Mapping[str, Any]
    why: str
    read: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    few: Mapping[str, Any] = dataclasses.field(default_factory=dict)
