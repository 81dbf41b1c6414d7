"""Output directories: whose they are, what their job was asked to do, and whether one may go on with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NotRequired

import pydantic
from typing_extensions import TypedDict

from mmstream import commits, disk, files
from mmstream.errors import MmstreamError, repair_hint
from mmstream.interfaces import LabelType
from mmstream.json_files import load, write_json
from mmstream.parts import FORMAT, PLAN, Plan, part_name, parts_for, read_plan

ABOUT = "job.json"
"""The file that says what the job of an output was asked to do."""
RESULTS = ("labels", "examples", "dead_letters")
"""Folders of an output in which the files of parts lie."""
_RESULT = re.compile(r"part-(\d{5,})\.")
_STRICT = pydantic.ConfigDict(extra="forbid")


class AboutInput(TypedDict):
    """An input of an output; see `mmstream.stages.reading.Input`."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    use: str
    parameters: dict[str, Any]
    path: str
    id: str | None
    rename: dict[str, str]
    limit: int | None
    roots: list[str]
    number: int


class AboutLabels(TypedDict):
    """job.json of an output of `mmstream label`: whose labels these are, and where the records came from."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    model: str
    fingerprint: str
    fingerprints: dict[str, Any]
    embeddings: bool
    resume: Literal["values", "metadata", "content"]
    schema: dict[str, LabelType]
    sink: str
    sink_options: NotRequired[dict[str, Any]]
    inputs: list[AboutInput]
    earlier: NotRequired[list[str]]


class AboutExamples(TypedDict):
    """job.json of an output of `mmstream preprocess`: its config, and where the records came from."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    config: str
    inputs: list[AboutInput]


class LabelBooks(TypedDict):
    """label.json: what became of the records of the last run, and what the output holds."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    read: NotRequired[int]
    labelled: NotRequired[int]
    dead_lettered: NotRequired[int]
    skipped: NotRequired[int]
    rows: int
    dead_letters: int
    of_other_inputs: NotRequired[int]
    pruned: NotRequired[int]
    of_another_model: NotRequired[int]
    lost: NotRequired[int]
    smaller_batch: NotRequired[int]
    fingerprint: str
    plugins: dict[str, str]
    seconds: float


class ExampleBooks(TypedDict):
    """preprocess.json: what became of the records of the last run, and what the output holds."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    read: int
    examples: int
    dead_lettered: int
    skipped: int
    splits: dict[Literal["train", "validation", "test"], int]
    dead_letters: int
    fingerprint: str | None
    plugins: dict[str, str]
    fields: dict[str, Any]
    transform: NotRequired[dict[str, str]]
    seconds: float


_ABOUT: dict[str, Any] = {"label": AboutLabels, "preprocess": AboutExamples}
BOOKS: dict[str, tuple[str, Any]] = {
    "label": ("label.json", LabelBooks),
    "preprocess": ("preprocess.json", ExampleBooks),
}
"""The file in which each command keeps its books, and what it holds."""


def check_output(output: str, command: str) -> Plan | None:
    """The plan of an output directory that a job of this kind may go on with; None where it is new.

    Raises:
        MmstreamError: the directory holds something else, or something in it is damaged. Nothing is touched.
    """
    check_not_cut(output)
    check_places(output)
    plan = read_plan(output)
    if plan is None:
        if files.exists(output) and not (files.is_folder(output) and _is_empty(output)):
            if files.exists(files.join(output, ABOUT)):
                raise MmstreamError(f"{output} has lost its {PLAN}. {repair_hint(output)}")
            raise MmstreamError(
                f"{output} holds something that `mmstream {command}` did not make; name another --output"
            )
        return None
    if plan.command != command or plan.format != FORMAT:
        raise MmstreamError(
            f"{output} is the output of `mmstream {plan.command}` (format {plan.format}), not of `mmstream {command}`; "
            "name another --output"
        )
    read_books(output, command)
    return plan


def open_output(output: str, command: str, rows: int) -> Plan:
    """The plan of an output directory, made now if the directory is new; what was interrupted is finished.

    Raises:
        MmstreamError: the directory holds something else, or something in it is damaged.
    """
    plan = check_output(output, command)
    if plan is None:
        plan = Plan(parts=parts_for(rows), command="label" if command == "label" else "preprocess")
        write_json(files.join(output, PLAN), plan.model_dump())
    commits.recover(output)
    for problem in contradictions(output, plan):
        raise MmstreamError(f"{problem}. {repair_hint(output)}")
    return plan


def contradictions(output: str, plan: Plan) -> Iterator[str]:
    """What in an output says something else than its commit records; a sentence each, without its full stop.

    Raises:
        DamagedFileError: a record is not valid.
    """
    numbers = commits.numbers_recorded(output)
    if numbers:
        first = commits.recorded(output, numbers[0])
        cut = first.parts if first else 0
        if numbers[-1] >= plan.parts or cut not in (0, plan.parts):
            made = cut or f"more, as {part_name(numbers[-1])} is there"
            yield f"{files.join(output, PLAN)} says {plan.parts} parts, but the number of parts is {made}"
        if plan.command == "label" and not read_about(output, "label"):  # pipelines of one's own preprocess without it
            yield f"{files.join(output, ABOUT)}, which says what was labelled, is not there"
    known = set(numbers)
    for name in result_files(output):
        number = part_of_file(name)
        if number is not None and number not in known:
            yield (
                f"{files.join(output, name)} lies there without its commit record {commits.record_path(number)}, "
                "so nobody knows whether it is whole"
            )


def transform_files(output: str) -> dict[str, str]:
    """The sha256 of each file of a fitted transform, by its path below `transform/`."""
    folder = files.join(output, "transform")
    return {path: files.checksum(files.join(folder, path)) for path in files.list_files(folder)}


def result_files(output: str) -> Iterator[str]:
    """The files that lie where those of parts do, below the output."""
    for folder in RESULTS:
        yield from (f"{folder}/{name}" for name in files.list_files(files.join(output, folder)))


def part_of_file(path: str) -> int | None:
    """The part of a file of results; None for a file that is no part's."""
    found = _RESULT.match(files.name(path))
    return int(found[1]) if found else None


def check_places(output: str) -> None:
    """Nothing in an output is a link, so that nothing is written elsewhere, and its folders are folders.

    Raises:
        MmstreamError: something is not so.
    """
    if files.is_remote(output):
        return
    folders = (*RESULTS, "parts", "runs", "logs", "spool", "unfinished", "transform", "golden", commits.ASIDE)
    for folder in ("", ".repartition", *folders):
        place = Path(output, folder)
        if place.is_dir():
            link = next((entry.name for entry in disk.entries(str(place)) if entry.is_symlink()), None)
            if link is not None:
                raise MmstreamError(
                    f"{place / link} is a link, through which files elsewhere could be overwritten; remove it, or name "
                    "another --output"
                )
        elif place.exists():
            raise MmstreamError(f"{place} is not a folder; move it away, or name another --output")


def staged(output: str) -> str:
    """Where `mmstream repartition` prepares the new parts of an output."""
    return files.join(output, ".repartition")


def check_not_cut(output: str) -> None:
    """No `mmstream repartition` was interrupted while it put the new parts in the places of the old ones.

    Raises:
        MmstreamError: one was.
    """
    if files.exists(files.join(staged(output), "ready")):
        raise MmstreamError(f"`mmstream repartition {output}` was interrupted; run it again first")


def write_about(output: str, about: Mapping[str, Any], run: str) -> None:
    """Keep in an output what its job was asked to do: job.json, and a copy among the notes of the run."""
    write_json(files.join(output, "runs", run, ABOUT), about)
    write_json(files.join(output, ABOUT), about)


def read_about(output: str, command: str) -> dict[str, Any]:
    """What `write_about` kept; {} where nothing was.

    Raises:
        DamagedFileError: it is not valid.
    """
    return dict(load(output, ABOUT, _ABOUT[command]) or {})


def read_about_of_run(output: str, command: str, run: str) -> dict[str, Any]:
    """What a run kept of it; {} where it kept nothing.

    Raises:
        DamagedFileError: it is not valid.
    """
    return dict(load(output, f"runs/{run}/{ABOUT}", _ABOUT[command]) or {})


def read_books(output: str, command: str) -> dict[str, Any]:
    """The books of the last run, label.json or preprocess.json; {} where it has not closed them.

    Raises:
        DamagedFileError: they are not valid.
    """
    name, kind = BOOKS[command]
    return dict(load(output, name, kind) or {})


def _is_empty(folder: str) -> bool:
    return next(files.list_files(folder), None) is None
