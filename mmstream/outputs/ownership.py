"""Output directories: which command and model one belongs to, and whether a job may continue with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NotRequired

import pydantic
from typing_extensions import TypedDict

from mmstream.errors import MmstreamError, repair_hint
from mmstream.interfaces import LabelType
from mmstream.outputs import commit_records, commits
from mmstream.outputs.parts import FORMAT, PLAN, Plan, part_name, parts_for, read_plan
from mmstream.preprocessing.lookups import Counts
from mmstream.storage import disk, files
from mmstream.storage.json_files import load, write_json

ABOUT = "job.json"
"""The file that says what the job of an output is to do."""
SCRATCH = "scratch"
"""The folder of an output for a job's intermediate files."""
RESULTS = ("labels", "examples", "dead_letters")
"""The folders of an output that hold the files of parts."""
_RESULT = re.compile(r"part-(\d{5,})\.")
Split = Literal["train", "validation", "test"]
_STRICT = pydantic.ConfigDict(extra="forbid")


class AboutInput(TypedDict):
    """An input that went into an output; see `mmstream.inputs.input.Input`."""

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
    """job.json of an output of `mmstream label`: which model made the labels, and where the records came from."""

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


class AboutPassedOver(TypedDict):
    """What was passed over in an input; see `mmstream.interfaces.PassedOver`."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    reason: str
    count: int
    first: list[str]


class AboutGroup(TypedDict):
    """A group of records with near-equal values of a field: how many, in which splits, and the ids of a few."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    records: int
    splits: dict[Split, int]
    first: list[str]


class AboutNear(TypedDict):
    """The records with near-equal values of a field in different splits.

    `near` says, for each split and each other one, how many records of the first have a near-equal value in the second;
    `held_out_near` says how many of the `held_out` records, those of validation and test, have one in any other split.
    """

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    compared: int
    held_out: int
    held_out_near: int
    near: dict[Split, dict[Split, int]]
    groups: list[AboutGroup]


class LabelSummary(TypedDict):
    """label.json: what became of the records in the last run, and what the output holds."""

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
    lookups: NotRequired[Counts]
    passed_over: NotRequired[list[AboutPassedOver]]
    fingerprint: str
    plugins: dict[str, str]
    seconds: float


class ExamplesSummary(TypedDict):
    """preprocess.json: what became of the records in the last run, and what the output holds."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    read: int
    examples: int
    dead_lettered: int
    skipped: int
    passed_over: NotRequired[list[AboutPassedOver]]
    splits: dict[Split, int]
    near: NotRequired[dict[str, AboutNear]]
    kept_together: NotRequired[list[AboutGroup]]
    dead_letters: int
    fingerprint: str | None
    plugins: dict[str, str]
    fields: dict[str, Any]
    made_with: NotRequired[dict[str, Any]]
    transform: NotRequired[dict[str, str]]
    seconds: float


_ABOUT: dict[str, Any] = {"label": AboutLabels, "preprocess": AboutExamples}
SUMMARIES: dict[str, tuple[str, Any]] = {
    "label": ("label.json", LabelSummary),
    "preprocess": ("preprocess.json", ExamplesSummary),
}
"""The file in which each command summarises its last run, and the type of its content."""


def check_output(output: str, command: str) -> Plan | None:
    """Read the plan of an output directory, if a job of this command may continue with it; None if it is new.

    Raises:
        MmstreamError: the directory holds something else, or something in it is damaged; nothing was changed.
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
    read_summary(output, command)
    return plan


def open_output(output: str, command: str, rows: int) -> Plan:
    """Read the plan of an output directory, or make it if the directory is new; finish interrupted commits.

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
    """Report contradictions between an output and its commit records, each as a sentence without its full stop.

    Raises:
        DamagedFileError: a commit record is not valid.
    """
    numbers = commit_records.numbers_recorded(output)
    if numbers:
        first = commit_records.recorded(output, numbers[0])
        cut = first.parts if first else 0
        if numbers[-1] >= plan.parts or cut not in (0, plan.parts):
            actual = cut or f"larger: {part_name(numbers[-1])} exists"
            yield f"{files.join(output, PLAN)} says {plan.parts} parts, but the number of parts is {actual}"
        if plan.command == "label" and not read_about(output, "label"):  # mmstream.Preprocess writes none
            yield f"{files.join(output, ABOUT)}, which says what was labelled, is missing"
    recorded = set(numbers)
    for name in result_files(output):
        number = part_of_file(name)
        if number is not None and number not in recorded:
            yield (
                f"{files.join(output, name)} exists without its commit record "
                f"{commit_records.record_path(number)}, so it may be incomplete"
            )


def transform_files(output: str) -> dict[str, str]:
    """Return the sha256 of each file of a fitted transform, by its path below `transform/`."""
    folder = files.join(output, "transform")
    return {path: files.checksum(files.join(folder, path)) for path in files.list_files(folder)}


def result_files(output: str) -> Iterator[str]:
    """List the files in the folders of results, as paths below the output."""
    for folder in RESULTS:
        yield from (f"{folder}/{name}" for name in files.list_files(files.join(output, folder)))


def part_of_file(path: str) -> int | None:
    """Return the part that a file of results belongs to; None if it belongs to no part."""
    match = _RESULT.match(files.name(path))
    return int(match[1]) if match else None


def check_places(output: str) -> None:
    """Check that an output's folders are folders, and hold no links, through which files elsewhere could be written.

    Raises:
        MmstreamError: one is not a folder, or holds a link.
    """
    if files.is_remote(output):
        return
    made = ("parts", "runs", "logs", "spool", "unfinished", "transform", "golden", "hashes")
    folders = (*RESULTS, *made, commit_records.ASIDE)
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
    """Return the folder in which `mmstream repartition` prepares the new parts of an output."""
    return files.join(output, ".repartition")


def check_not_cut(output: str) -> None:
    """Check that no `mmstream repartition` was interrupted while it replaced the old parts with the new ones.

    Raises:
        MmstreamError: one was.
    """
    if files.exists(files.join(staged(output), "ready")):
        raise MmstreamError(f"`mmstream repartition {output}` was interrupted; run it again first")


def write_about(output: str, about: Mapping[str, Any], run: str) -> None:
    """Write the description of the job of an output to job.json, and to a copy among the notes of the run."""
    write_json(files.join(output, "runs", run, ABOUT), about)
    write_json(files.join(output, ABOUT), about)


def read_about(output: str, command: str) -> dict[str, Any]:
    """Read what `write_about` wrote; {} if there is nothing.

    Raises:
        DamagedFileError: it is not valid.
    """
    return dict(load(output, ABOUT, _ABOUT[command]) or {})


def read_about_of_run(output: str, command: str, run: str) -> dict[str, Any]:
    """Read the copy of job.json that a run kept; {} if it kept none.

    Raises:
        DamagedFileError: it is not valid.
    """
    return dict(load(output, f"runs/{run}/{ABOUT}", _ABOUT[command]) or {})


def read_summary(output: str, command: str) -> dict[str, Any]:
    """Read the summary of the last run in label.json or preprocess.json; {} if that run has not ended.

    Raises:
        DamagedFileError: the file is not valid.
    """
    name, kind = SUMMARIES[command]
    return dict(load(output, name, kind) or {})


def _is_empty(folder: str) -> bool:
    """Return whether a folder holds only scratch files, which tensorflow-transform writes while a pipeline is built."""
    return all(path.startswith(f"{SCRATCH}/") for path in files.list_files(folder))
