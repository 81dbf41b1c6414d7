"""Turn a dataset into examples: `mmstream preprocess`, or `python -m beam_jobs.preprocess` on any Beam runner."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam

from mmstream import files, jobs, parts, plugins
from mmstream.config import Config
from mmstream.config_file import load_config
from mmstream.errors import MmstreamError
from mmstream.flags import add_preprocess_flags
from mmstream.media import Media
from mmstream.preprocessing import Preprocessor
from mmstream.records import SPLITS, digest_of
from mmstream.stages.preprocess import AnalyseColumns, PreprocessParts, WriteGolden, cheap_preprocessor
from mmstream.stages.reading import Input, Piece, ReadRecords, RouteToParts, pieces_of, sample
from mmstream.terminal import say


def run(flags: argparse.Namespace, beam_flags: Sequence[str]) -> int:
    """Run the job; returns its exit code.

    Raises:
        MmstreamError: it cannot start, or cannot go on.
    """
    started = time.monotonic()
    options = jobs.beam_options(beam_flags)
    config = load_config(flags.config, flags.set, tiny=flags.tiny)
    source = config.source
    job_input = Input(source.use, source.parameters, source.path, source.id, limit=source.limit)
    media = Media(source.path if files.is_folder(source.path) else files.parent(source.path), source.roots)
    pieces = pieces_of(job_input)
    check_data(config, sample(job_input, pieces))
    rows = sum(piece.rows for piece in pieces)
    plan = parts.check_output(flags.output, "preprocess") or parts.Plan(parts.parts_for(rows), "preprocess")
    with tempfile.TemporaryDirectory(prefix="mmstream-") as directory:
        analyse(config, job_input, pieces, plan.parts, directory, beam_flags)
        plan = parts.open_output(flags.output, "preprocess", rows)
        fingerprint = install_transform(config, directory, flags.output)
    run_name = jobs.new_run()

    with jobs.progress("preprocess", flags.output, run_name, plan), jobs.pipeline(options) as pipeline:
        (
            pipeline
            | beam.Create(pieces)
            | ReadRecords(job_input, flags.output, run_name)
            | RouteToParts(plan.parts)
            | PreprocessParts(config, fingerprint, media, flags.output, run_name, flags.threads)
            | WriteGolden(config, media, flags.output)
        )

    books = jobs.settle(flags.output, run_name, plan, done="examples")
    commits = [parts.read_commit(flags.output, part) for part in range(plan.parts)]
    splits = {name: sum(commit.counts[name] for commit in commits if commit) for name in SPLITS}
    parts.write_json(
        files.join(flags.output, "preprocess.json"),
        {
            "read": books.read,
            "examples": books.done,
            "dead_lettered": books.dead_lettered,
            "skipped": books.skipped,
            "splits": splits,
            "dead_letters": books.committed_letters,
            "fingerprint": fingerprint,
            "plugins": field_versions(config),
            "fields": {name: field.model_dump(mode="json") for name, field in config.fields.items()},
            "seconds": round(time.monotonic() - started, 3),
        },
    )
    each = ", ".join(f"{count:,} {name}" for name, count in splits.items())
    say(
        f"{books.read:,} read, {books.done:,} made into examples, {books.dead_lettered:,} dead-lettered, "
        f"{books.skipped:,} skipped in {time.monotonic() - started:.1f} s → {flags.output} ({each})"
    )
    if books.committed == 0:
        say("no record became an example; see dead_letters/")
        return 3
    return 0


def check_data(config: Config, rows: Sequence[Mapping[str, Any]]) -> None:
    """The columns that a config names occur in the first rows.

    Raises:
        MmstreamError: one does not; nothing has been touched yet.
    """
    Preprocessor(config.fields).check_columns(rows, needed="all")
    columns = {column for row in rows for column in row}
    for key, column in (("id", config.source.id), ("group", config.split.group), ("column", config.split.column)):
        if column and rows and column not in columns:
            place = "source.id" if key == "id" else f"split.{key}"
            raise MmstreamError(f"{place}: the data has no column {column!r}; it has {', '.join(sorted(columns))}")


def analyse(
    config: Config, job_input: Input, pieces: Sequence[Piece], parts_count: int, directory: str, flags: Sequence[str]
) -> None:
    """The full pass over the cheap columns of the training split.

    Raises:
        MmstreamError: a column holds no value at all in the training split.
    """
    preprocessor = cheap_preprocessor(config)
    if not preprocessor.fields:
        return
    import tensorflow_transform.beam as tft_beam

    with (
        tempfile.TemporaryDirectory(prefix="mmstream-") as scratch,
        jobs.pipeline(jobs.beam_options(flags)) as pipeline,
        tft_beam.Context(temp_dir=scratch),
    ):
        (
            pipeline
            | beam.Create(pieces)
            | ReadRecords(job_input)
            | RouteToParts(parts_count)
            | AnalyseColumns(config, directory)
        )

    filled = json.loads((Path(directory) / "filled.json").read_text())
    for column in preprocessor.raw_columns():
        name = column.split("/")[0]
        if not filled.get(column):
            raise MmstreamError(
                f"fields.{name}: no record of the training split has a value in the column "
                f"{config.fields[name].column!r}, so there is nothing to learn of it"
            )


def install_transform(config: Config, directory: str, output: str) -> str:
    """Put a fitted transform in its place, unless an equal one is there; returns the preprocessing's fingerprint."""
    folder = Path(directory)
    assets = {path.name: files.checksum(str(path)) for path in sorted((folder / "transform_fn" / "assets").glob("*"))}
    fields = {name: field.model_dump(mode="json") for name, field in sorted(config.fields.items())}
    fingerprint = digest_of([assets, fields, field_versions(config)])
    marker = files.join(output, "transform", "fingerprint")
    if files.exists(marker) and files.read_bytes(marker).decode() == fingerprint:
        return fingerprint
    files.remove(marker)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "filled.json":
            files.write_bytes(files.join(output, "transform", str(path.relative_to(folder))), path.read_bytes())
    files.write_bytes(marker, fingerprint.encode())
    return fingerprint


def field_versions(config: Config) -> dict[str, str]:
    """Versions of the distributions that the fields come from."""
    used = [plugins.component("field", field.use) for field in config.fields.values()]
    return dict(sorted({component.distribution: component.version for component in used}.items()))


def main(argv: Sequence[str] | None = None) -> int:
    """Parse flags and run the job."""
    parser = argparse.ArgumentParser(prog="python -m beam_jobs.preprocess", description=__doc__)
    add_preprocess_flags(parser)
    flags, beam_flags = parser.parse_known_args(argv)
    return run(flags, beam_flags)


if __name__ == "__main__":
    sys.exit(main())
