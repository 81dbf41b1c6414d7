"""The role of a column, by its name and values: id, split, row number, or target."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mmstream.records.record import split_named

_IDS = ("id", "_id", "uid", "uuid", "guid", "key", "__key__", "image_id", "item_id", "record_id", "sku")
_LIKE_AN_ID = re.compile(r"(?:.*[_\W])?(?:id|ids|uuid|guid)|.*[a-z](?:Id|ID)|__key__|_id|uid|sku")
_UNNAMED = re.compile(
    r"(?:unnamed: ?\d+(?:\.\d+)?|index|idx|row|row_?(?:id|number|num)|rownum|level_0|no\.?|nr\.?|#)?", re.I
)
_COUNTS = re.compile(r".+[_ ](?:number|num|no|nr|idx|index)", re.I)
_CODES = re.compile(r"(?:.*[_\W])?(?:code|codes|zip|zip_?code|post_?code|postal_?code|plz)")
_SPLIT_NAMES = ("split", "subset", "fold", "set", "partition", "phase", "usage")
_DIVIDES = re.compile(r"is_?(?:train|training|val|valid|validation|test|testing)|.*_?k?fold|split|subset|partition")
_CLASSES = ("category", "class", "cls", "coarse", "fine", "group", "label", "labels", "genre", "species", "topic")
_TARGETS = (
    *("answer", "choice", "target", "y", "outcome", "diagnosis", "quality", "survived", "churn"),
    *("keywords", "tags", "genres", "attributes", "categories", "sentiment", "emotion"),
    *("price", "rating", "score", "stars", "value"),
    *_CLASSES,
)
_OF_A_TARGET = re.compile(r"(?:label|class|category|target)_(?:name|id|idx|index|text|\d+)|.+_(?:label|target)")
_SAY_A_SPLIT = 0.8
"""A column holds splits if more than this share of its values name one."""
_FILE_NAME = re.compile(r".*\w\.[A-Za-z][A-Za-z0-9]{1,4}", re.DOTALL)
_FEW = 20
"""With up to this many different values, a column with the name of an id may hold classes."""
_NUMBERS, _LAST_DIGITS = 10, 0.002
"""Fewer pairs of numbers than this may lie on a line by chance; the share of their range that rounding may change."""
_ROW_NUMBERS = 5
"""Fewer rows than this may be numbered by chance."""


def id_of(columns: Mapping[str, Sequence[Any]], rows: int) -> str | None:
    """The column that is an id by both its name and its values.

    Args:
        columns: the values of each column, without None.
        rows: how many rows there are.
    """
    names = [name for name in columns if name.lower() in _IDS]
    names.sort(key=lambda name: _IDS.index(name.lower()))
    names += [name for name in columns if name not in names and is_like_an_id(name)]
    for name in names:
        values = columns[name]
        if len(values) == rows == len(set(map(str, values))) and all(map(_may_name, values)):
            return name
    return None


def split_of(columns: Mapping[str, Sequence[Any]], rows: int) -> str | None:
    """The column that names the split of each row, with train among the splits.

    A few values may be something else, such as the name of a folder beside those of the splits.
    """
    for name in sorted(columns, key=lambda name: name.lower() not in _SPLIT_NAMES):
        named = Counter(map(split_named, columns[name]))
        count = named.total() - named.pop(None, 0)
        if "train" in named and len(named) > 1 and count > _SAY_A_SPLIT * rows:
            return name
    return None


def name_splits(values: Sequence[Any]) -> bool:
    """Whether all values are names of splits, and of more than one split."""
    named = set(map(split_named, values))
    return None not in named and len(named) > 1


def may_name_files(name: str, values: Sequence[tuple[Any, str]]) -> bool:
    """Whether values may name files: there are too many for classes, or they look like file names.

    Args:
        name: the name of the column.
        values: the values, each with the folder of its table.
    """
    different = {(str(value), folder) for value, folder in values}
    if 2 * len(different) > len(values) or (len(different) > _FEW and is_like_an_id(name)):
        return True
    return all(_FILE_NAME.fullmatch(value) for value, _ in different)


def why_no_input(name: str, values: Sequence[Any], count: int) -> str:
    """Why a column is of no use as an input; "" if it may be of use.

    Args:
        name: the name of the column.
        values: its values in a sample, without None.
        count: how many rows the input has.
    """
    different = len(set(map(str, values)))
    if different == 1 and len(values) > 1:
        return "it has the same value in all rows"
    if name_splits(values):
        return "its values are names of splits"
    if _DIVIDES.fullmatch(name.lower()) or (name.lower() in _SPLIT_NAMES and all(map(split_named, values))):
        return "it divides the rows, but not into train, validation and test: `split.column` needs a column that does"
    if _numbers_rows(values, count) or (
        _UNNAMED.fullmatch(name.strip()) and different == len(values) and _whole(values)
    ):
        return "it numbers the rows"
    if _COUNTS.fullmatch(name) and not is_of_a_target(name) and _whole(values):
        return "its name says that it counts something"
    if _CODES.fullmatch(name.lower()) and not is_of_a_target(name) and different > _FEW and _whole(values):
        return "its name says that it is a code, so its numbers are not quantities"
    if is_like_an_id(name) and not is_of_classes(name) and different > _FEW:
        return "its name says that it is an id"
    return ""


def is_like_an_id(name: str) -> bool:
    """Whether a column has the name of an id."""
    return bool(_LIKE_AN_ID.fullmatch(name) or _LIKE_AN_ID.fullmatch(name.lower()))


def is_of_classes(name: str) -> bool:
    """Whether a column's name says that it holds classes, so that whole numbers in it are codes."""
    plain = _plain(name)
    return plain in _CLASSES or bool(re.fullmatch(r"(?:label|class|category)_(?:id|idx|index|\d+)", plain))


def is_of_a_target(name: str) -> bool:
    """Whether a column has the name of a target."""
    plain = _plain(name)
    return plain in _TARGETS or bool(_OF_A_TARGET.fullmatch(plain))


def say_the_same(first: Sequence[Any], second: Sequence[Any]) -> bool:
    """Whether two columns are the same apart from spelling: each value of one goes with a single value of the other."""
    pairs = {(str(one), str(other)) for one, other in zip(first, second, strict=True) if None not in (one, other)}
    ones, others = {one for one, _ in pairs}, {other for _, other in pairs}
    return (1 < len(pairs) == len(ones) == len(others) < len(first) / 2) or _same_numbers(first, second)


def share_a_word(one: str, other: str) -> bool:
    """Whether the names of two columns have a word in common, such as "price" and "price_usd"."""
    return bool(set(_plain(one).split("_")) & set(_plain(other).split("_")))


def in_another_unit(first: Sequence[Any], second: Sequence[Any]) -> bool:
    """Whether the numbers of one column are a linear function of those of another, apart from rounding."""
    pairs = _pairs_of_numbers(first, second)
    if len(pairs) < _NUMBERS:
        return False
    (low, at_low), (high, at_high) = pairs[0], pairs[-1]
    if low == high or at_low == at_high:
        return False
    factor = (at_high - at_low) / (high - low)
    off = max(abs(at_low + factor * (one - low) - other) for one, other in pairs)
    return off <= _LAST_DIGITS * abs(at_high - at_low)


def _same_numbers(first: Sequence[Any], second: Sequence[Any]) -> bool:
    pairs = _pairs_of_numbers(first, second)
    return len(pairs) >= _NUMBERS and all(one == other for one, other in pairs)


def _pairs_of_numbers(first: Sequence[Any], second: Sequence[Any]) -> list[tuple[float, float]]:
    both = ((_number(one), _number(other)) for one, other in zip(first, second, strict=True))
    return sorted({(one, other) for one, other in both if one is not None and other is not None})


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _plain(name: str) -> str:
    return re.sub(r"\W+", "_", re.sub(r"([a-z])([A-Z])", r"\1_\2", name)).strip("_").lower()


def _may_name(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _whole(values: Sequence[Any]) -> list[int]:
    """The values as whole numbers; [] if one is not a whole number."""
    numbers = []
    for value in values:
        if isinstance(value, bool) or not re.fullmatch(r"-?\d{1,18}(?:\.0)?", str(value).strip()):
            return []
        numbers.append(int(str(value).strip().removesuffix(".0")))
    return numbers


def _numbers_rows(values: Sequence[Any], count: int) -> bool:
    numbers = _whole(values)
    if len(numbers) < _ROW_NUMBERS or len(set(numbers)) < len(numbers):
        return False
    return numbers == sorted(numbers) and numbers[-1] - numbers[0] < count
