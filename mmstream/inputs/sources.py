"""Choosing the source that reads an input, by the suffixes of its files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import cast

from mmstream.errors import MmstreamError, listed
from mmstream.inputs.no_source import why_none
from mmstream.interfaces import Source
from mmstream.plugins import components, registry
from mmstream.storage import files, patterns
from mmstream.storage.suffixes import unsharded

_MOST_FILES = 10_000
_MOST_LOOKED_INTO = 100


def source_for(path: str) -> str:
    """Return the name of the source that reads a file, a folder, or a pattern such as "shards/*.tar".

    In a folder, a table at the top level decides (the pictures beside it are those that its rows name); without one,
    tables in its subfolders decide, if each picture lies beside or below one; otherwise the most frequent kind of file
    decides.

    Raises:
        MmstreamError: no source reads it, or several might.
    """
    if source := source_of_scheme(path):
        return source
    kinds = _kinds()
    if patterns.is_pattern(path):
        return _of_pattern(path, kinds)
    if files.is_folder(path):
        paths = _listed(path)
    elif files.exists(path):
        paths = [files.name(path)]
    else:
        raise MmstreamError(f"there is no {path}")
    counted = Counter(name for name in (_reads(file, kinds) for file in paths) if name)
    tables = {_reads(file, kinds) for file in _tables(paths, kinds)}
    if len(tables) > 1:
        raise MmstreamError(f"{path} holds several kinds of tables ({', '.join(sorted(tables))}); name the file itself")
    tables = tables or {_reads(file, kinds) for file in _beside_all_media(paths, kinds)}
    if len(tables) == 1:
        return tables.pop()
    if not counted and (source := _by_contents(patterns.input_folder(path), paths, kinds)):
        return source
    if not counted:
        raise MmstreamError(why_none(path, paths, kinds))
    return counted.most_common(1)[0][0]


def taken_for(path: str, use: str) -> str:
    """Say which files are read in a folder that holds both tables and files that are records, such as pictures.

    Args:
        path: the path of an input.
        use: the source that reads it.

    Returns:
        a sentence; "" if the folder does not hold both.
    """
    if files.is_remote(path) or not files.is_folder(path):
        return ""
    kinds = _kinds()
    read = [(file, _reads(file, kinds)) for file in _listed(path)]
    media = Counter(kind for _, kind in read if kind in _of_media(kinds))
    tables = [file for file, kind in read if (kind == use if use not in media else kind and kind not in media)]
    is_or_are = "is" if len(tables) == 1 else "are"
    if not (tables and media):
        return ""
    if use in media:
        of_media = f"in {path}, the {media[use]:,} files that {use} reads are the records"
        return f"{of_media}; {listed(tables)} {is_or_are} passed over"
    kind, count = media.most_common(1)[0]
    return (
        f"in {path}, the records are the rows of {listed(tables)} (a table takes precedence); the {count:,} files "
        f"that {kind} reads are media that rows may name. To read these files as records, give --source {kind}"
    )


def source_of_scheme(path: str) -> str:
    """Return the name of the source that reads URIs that are not files, such as "kafka://…"; "" for none."""
    scheme = files.scheme(path)
    return next((name for name, cls in _kinds().items() if scheme and cls.scheme == scheme), "")


def _kinds() -> dict[str, type[Source]]:
    return {name: cast("type[Source]", registry.find("source", name)) for name in registry.names("source")}


def _of_pattern(pattern: str, kinds: dict[str, type[Source]]) -> str:
    """Return the one source that reads all files that match.

    Raises:
        MmstreamError: no file matches, or no single source reads all of them.
    """
    first: dict[str, str] = {}
    for match in patterns.matches(pattern):
        first.setdefault(_reads(match, kinds), files.name(match))
    if not first:
        raise MmstreamError(patterns.nothing_matches(pattern))
    if len(first) > 1:
        examples = listed(f"{name} ({kind or 'no source'})" for kind, name in sorted(first.items()))
        raise MmstreamError(f"{pattern} matches several kinds of files: {examples}; narrow it, or name a source")
    kind = next(iter(first))
    if not kind:
        raise MmstreamError(why_none(pattern, patterns.matches(pattern), kinds))
    return kind


def _listed(folder: str) -> list[str]:
    """List the files of a folder, at most the first 10,000."""
    return list(islice(files.list_files(folder), _MOST_FILES))


def _tables(paths: list[str], kinds: dict[str, type[Source]]) -> list[str]:
    """Return the tables at the top level of a folder."""
    others = {"", *_of_media(kinds)}
    return [file for file in paths if "/" not in file and _reads(file, kinds) not in others]


def _beside_all_media(paths: list[str], kinds: dict[str, type[Source]]) -> list[str]:
    """Return the tables in subfolders, if each media file lies in or below a folder that has a table; otherwise [].

    Source: https://huggingface.co/docs/datasets/image_dataset (metadata.jsonl in a folder for each split).
    """
    of_media = _of_media(kinds)
    read = [(file, _reads(file, kinds)) for file in paths]
    tables = [file for file, kind in read if kind and kind not in of_media]
    folders = {file.rpartition("/")[0] for file in tables}
    media = [file for file, kind in read if kind in of_media]
    return tables if media and all(folders & set(_folders_of(file)) for file in media) else []


def _folders_of(path: str) -> Iterator[str]:
    """Yield the folders that a file lies in, innermost first."""
    while path := path.rpartition("/")[0]:
        yield path


def _reads(path: str, kinds: dict[str, type[Source]]) -> str:
    """Return the source with the longest suffix that matches a file's name; "" for none."""
    name = unsharded(files.name(path))
    fitting = [(len(suffix), kind) for kind, cls in kinds.items() for suffix in cls.suffixes if name.endswith(suffix)]
    return max(fitting, default=(0, ""))[1]


def _by_contents(folder: str, paths: list[str], kinds: dict[str, type[Source]]) -> str:
    """Return a source of media files that reads one of the first files, whatever its name; "" for none."""
    sources = {name: components.build("source", name, {}) for name in sorted(_of_media(kinds))}
    places = [files.join(folder, path) for path in paths[:_MOST_LOOKED_INTO]]
    return next((name for name, source in sources.items() if any(map(source.reads, places))), "")


def _of_media(kinds: dict[str, type[Source]]) -> set[str]:
    return {name for name, cls in kinds.items() if cls.files_are_records}
