"""Levels of folders that are not classes: they repeat the level above, or are dates or masks."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from mmstream.storage import files

_LEVEL = re.compile(r"category(?:_(\d+))?")
_YEARS = re.compile(r"(?:19|20)\d\d")
_MONTHS = re.compile(
    r"(?:0?[1-9]|1[0-2])(?:[ _-]+\w+)?|(?:\d{1,2}[ _-]*)?"
    r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}(?:[ _-]*(?:19|20)\d\d)?",
    re.I,
)
_DAYS = re.compile(r"0?[1-9]|[12]\d|3[01]")
_DATES = re.compile(r"(?:19|20)\d\d[ ._-]?(?:0[1-9]|1[0-2])(?:[ ._-]?(?:0[1-9]|[12]\d|3[01]))?(?:[ _-].*)?")
_GOES_WITH = re.compile(r"mask|label|annot|segm|depth|thumb", re.I)
"""Names of folders that hold masks and the like rather than pictures."""
_PART_OF_A_STEM = re.compile(
    r"[ ._-]*(?:mask|labels?|seg|segm|segmentation|depth|thumb|annot\w*|image|img)s?\b|\W", re.I
)


def why_no_class(name: str, columns: Mapping[str, Sequence[Any]]) -> str:
    """Why the folders of a level are not classes; "" if they may be, and for columns that are not levels.

    Args:
        name: the name of the column.
        columns: the values of each column in the same rows, None if a row has none.
    """
    if not (level := _LEVEL.fullmatch(name)):
        return ""
    number = int(level[1] or 1)
    above = "" if number == 1 else "category" if number == 2 else f"category_{number - 1}"
    values = [str(value) for value in columns[name] if value is not None]
    if above and above in columns and _repeats(columns[above], columns[name]):
        return f"it repeats {above}"
    if period := _period_of(values, [str(value) for value in columns.get(above, ()) if value is not None]):
        return f"its folders are named after {period}, which are not classes"
    return _goes_with(columns[name], columns.get("image", ()))


def _repeats(above: Sequence[Any], level: Sequence[Any]) -> bool:
    pairs = [(one, other) for one, other in zip(above, level, strict=True) if other is not None]
    return bool(pairs) and all(str(one).lower() == str(other).lower() for one, other in pairs)


def _period_of(values: Sequence[str], above: Sequence[str]) -> str:
    """The kind of period that the names of folders are, such as "years"; "" if they are not periods."""
    names = set(values)
    if all(map(_YEARS.fullmatch, names)):
        return "years"
    if all(map(_DATES.fullmatch, names)):
        return "dates"
    in_years = bool(above) and all(_YEARS.fullmatch(name) for name in above)
    if all(map(_MONTHS.fullmatch, names)) and (in_years or not any(name.isdigit() for name in names)):
        return "months" if in_years or len(names) > 2 else ""  # May and June may be people
    in_months = bool(above) and all(_MONTHS.fullmatch(name) for name in above)
    return "days" if in_months and all(map(_DAYS.fullmatch, names)) else ""


def _goes_with(level: Sequence[Any], images: Sequence[Any]) -> str:
    """Why folders are not classes: one holds masks and the like for the pictures of another; "" if none does."""
    stems: defaultdict[str, set[str]] = defaultdict(set)
    for folder, image in zip(level, images, strict=False):
        if isinstance(image, str):
            stems[str(folder)].add(_stem(image))
    drawn = [folder for folder in stems if _GOES_WITH.search(folder)]
    for one in drawn:
        for other in stems.keys() - set(drawn):
            if 2 * len(stems[one] & stems[other]) > len(stems[one]):
                return f"most files in '{one}' are named after files in '{other}', so '{one}' is not a class"
    return ""


def _stem(path: str) -> str:
    return _PART_OF_A_STEM.sub("", files.name(path).rpartition(".")[0]).lower()
