"""Why the pictures that a column names cannot be read as it names them, and what to change."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from mmstream.starting_config.pictures import Pictures
from mmstream.storage import files

_VALUES, _LONGEST = 200, 100
_PATH = re.compile(r"[^\n]*[/\\][^\n]*\.[A-Za-z][A-Za-z0-9]{1,4}")
_STORES = re.compile(r"(?!file:)([A-Za-z][A-Za-z0-9+.-]+)://")
_SEVERAL = 2
_MOST = 0.5
"""A column holds what more than this share of its values are."""


class Unread:
    """Explains why files that columns of an input name cannot be read.

    Args:
        pictures: the pictures below the folder of the input.
    """

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        for path in pictures.paths:
            self._by_name[files.name(_plain(path))].append(path)

    def why_no_path(self, values: Sequence[Any]) -> str:
        """Why most of the files cannot be read if the values are their paths; "" if they are not paths."""
        texts = [value.strip() for value in values[:: max(len(values) // _VALUES, 1)] if isinstance(value, str)]
        names = [text for text in texts if self._is_picture(text)]
        if len(names) <= _MOST * len(texts):
            paths = sum(bool(_PATH.fullmatch(text)) for text in texts)
            return "its values are paths to files that no field reads" if texts and paths == len(texts) else ""
        stores = Counter(match[1] for match in map(_STORES.match, names) if match)
        if stores.total() > _MOST * len(names):
            (scheme, _), *_ = stores.most_common(1)
            return (
                f"it names pictures by {scheme}://, as in {_quoted(names[0])}, which are not downloaded: download them "
                "and let the column hold the paths of the files"
            )
        pairs = [(text, path) for text in names if (path := self._place_of(text))]
        if len(pairs) <= _MOST * len(names):
            there = f"{len(self._pictures.paths):,} others" if self._pictures.paths else "no pictures"
            first = next(text for text in names if not self._place_of(text))
            return f"it names pictures that do not exist, such as {_quoted(first)}; the input's folder holds {there}"
        changes = {change: None for pair in pairs for change in _changes(*pair)}
        if not changes:
            return ""
        text, path = next(pair for pair in pairs if _changes(*pair))
        return (
            f"the pictures that it names exist, such as {_quoted(path)}, but it spells their paths differently, as in "
            f"{_quoted(text)}: {'; '.join(changes)}"
        )

    def why_no_id(self, values: Sequence[Any]) -> str:
        """Why pictures cannot be found by ids that are their names; "" if the values are not such ids."""
        texts = {str(value).strip() for value in values[:: max(len(values) // _VALUES, 1)]}
        by_id = {text: paths for text in texts if (paths := self._pictures.named(text))}
        if len(by_id) > _MOST * len(texts):
            folders = sorted({path.rpartition("/")[0] for paths in by_id.values() for path in paths})
            if len(folders) < _SEVERAL:
                return ""
            return (
                f"the pictures that it names are in {len(folders):,} folders, such as {_quoted(folders[0])} and "
                f"{_quoted(folders[1])}, but a `reference` allows only one: put the pictures into one folder, or add a "
                "column that holds the path of each"
            )
        numbers = {int(stem): path for path in self._pictures.paths if _is_number(stem := _stem(path))}
        padded = [(text, numbers[int(text)]) for text in sorted(texts) if _is_number(text) and int(text) in numbers]
        if texts and len(padded) > _MOST * len(texts):
            text, path = padded[0]
            return (
                f"the pictures that it names have zeros before their numbers, such as {_quoted(files.name(path))} for "
                f"{text}; let the column hold the names of the files"
            )
        return ""

    def _is_picture(self, text: str) -> bool:
        return re.split(r"[?#]", text)[0].lower().endswith(self._pictures.suffixes) and "\n" not in text

    def _place_of(self, text: str) -> str:
        """The picture whose path has the longest end in common with a text; "" if there is none, or several."""
        steps = _plain(text).split("/")
        shared = {path: _shared(steps, _plain(path).split("/")) for path in self._by_name.get(steps[-1], ())}
        most = max(shared.values(), default=0)
        best = [path for path, count in shared.items() if count == most]
        return best[0] if len(best) == 1 else ""


def _changes(text: str, path: str) -> list[str]:
    """The changes that turn a text into the path of the picture that it stands for."""
    if text.startswith("file:"):
        return []
    changes = []
    slashed = text.replace("\\", "/").removeprefix("./")
    if "\\" in text:
        changes.append("write / instead of \\ between folders")
    normal, plain = _composed(slashed), _composed(path)
    if not normal.lower().endswith(plain.lower()):
        return [*changes, "write the folders as they are named below the input's folder"]
    if len(normal) > len(plain):
        changes.append(f"leave out {_quoted(text[: len(normal) - len(plain)])} at the start")
    if not normal.endswith(plain):
        changes.append("write capital and small letters as the file's name does")
    if not slashed.lower().endswith(path.lower()):
        changes.append("encode accented letters as the name of the file does (NFC and NFD differ)")
    return changes


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for first, second in zip(reversed(one), reversed(other), strict=False):
        if first != second:
            break
        count += 1
    return count


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _plain(text: str) -> str:
    """A path in a form that is the same for all its spellings."""
    return _composed(text.replace("\\", "/")).lower()


def _stem(path: str) -> str:
    return files.name(path).rpartition(".")[0]


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"\d{1,18}", text, re.ASCII))


def _quoted(text: str) -> str:
    return f"'{text if len(text) <= _LONGEST else f'{text[:_LONGEST]}…'}'"
