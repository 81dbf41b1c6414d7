"""Advice on an input that no source reads, based on the names and first bytes of its files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from mmstream.errors import listed
from mmstream.storage import files, patterns

_SHEETS = "save each sheet as CSV"
_BINARY = "convert it to Parquet, CSV or JSON Lines"
_PACKED = "unpack it"
_WHAT_TO_DO = {
    **dict.fromkeys(("xlsx", "xls", "xlsm", "xlsb", "ods", "numbers"), _SHEETS),
    **dict.fromkeys(("arrow", "feather", "npy", "npz", "h5", "hdf5", "mat", "pkl", "pickle", "rds", "dta"), _BINARY),
    **dict.fromkeys(("sav", "sas7bdat", "orc", "avro", "db", "sqlite", "sqlite3", "xml", "yaml", "yml"), _BINARY),
    **dict.fromkeys(("zip", "rar", "7z", "gz", "bz2", "xz", "zst"), _PACKED),
    "txt": "if it is a CSV table, give --source csv",
}
_ARRAY = "it holds one JSON array: write JSON Lines, one object per line, as `jq -c '.[]' {} > rows.jsonl` does"
_OBJECT = "it holds one JSON document: write JSON Lines, a .jsonl file with one object per line"
_TEXTS = "write their texts into a table, such as CSV with a column for the text and one for its class, and read that"
_NAMED = 3
_HEAD = 1024


def why_none(path: str, names: Sequence[str], kinds: Iterable[str]) -> str:
    """Write the message that no source reads an input: what it holds, and what to do.

    Args:
        path: a file, a folder, or a pattern.
        names: the names of its files, relative to it if it is a folder.
        kinds: the names of the installed sources.
    """
    if not names:
        return f"no source reads {path}: the folder is empty"
    suffix, count = Counter(map(_suffix, names)).most_common(1)[0]
    alike = [name for name in names if _suffix(name) == suffix]
    is_file = not files.is_folder(path) and not patterns.is_pattern(path)
    called = f".{suffix} file" if suffix else "file without a suffix"
    lie = f"are {count:,} {called.replace('file', 'files')}" if count > 1 else f"is a {called}"
    shown = alike if files.is_folder(path) else list(map(files.name, alike))
    holds = "" if is_file else f" there {lie} ({listed(shown, _NAMED)});"
    place = files.join(path, alike[0]) if files.is_folder(path) else alike[0] if patterns.is_pattern(path) else path
    what = _WHAT_TO_DO.get(suffix, "")
    if suffix == "json":
        what = _of_json(place)
    elif suffix == "txt" and count > 1:
        what = _TEXTS
    what = what or f"if one of {', '.join(sorted(kinds))} can read it, select that one with --source"
    return f"no source reads {path}:{holds} {what}"


def _suffix(name: str) -> str:
    return files.name(name).lower().rpartition(".")[2] if "." in files.name(name).strip(".") else ""


def _of_json(path: str) -> str:
    with files.open_read(path) as file:
        head = file.read(_HEAD)
    return _ARRAY.format(files.name(path)) if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[") else _OBJECT
