"""Measure how the cost of `mmstream label`, and what it writes, grow with records, parts, cores and workers.

Workers are slots of a Flink cluster on this machine, which needs Java 17 and Maven; `--workers` without a number leaves
them out.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import corpus
import pairs

from mmstream.outputs import ownership, parts, reconciliation

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "cluster"))
import servers

_CORES = len(os.sched_getaffinity(0))
_WRITTEN = ("labels", "dead_letters", "parts", "runs")


@dataclasses.dataclass(frozen=True)
class Line:
    """The costs of one job, and of a second one that finds nothing to do.

    Attributes:
        records: that were labelled.
        parts: of the output.
        cores: that the command was allowed to use.
        workers: slots of the cluster; 0 where there was none.
        seconds: of the first job, wall clock, start-up included.
        cpu_seconds: user and system, of the command alone.
        peak_bytes: memory of the command.
        rerun_seconds: of the second job.
        settle_seconds: of the reconciliation at the end of a job, in the driver alone.
        audit_seconds: of `mmstream audit --input` after both.
        audit_bytes: memory of that audit.
        written: bytes of the output's files after the first job, by folder.
    """

    records: int
    parts: int
    cores: int
    workers: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    rerun_seconds: float
    settle_seconds: float
    audit_seconds: float
    audit_bytes: int
    written: dict[str, int]


class Bench:
    """Runs the jobs.

    Args:
        directory: for all files.
    """

    def __init__(self, directory: Path) -> None:
        pairs.say("making pictures and a model")
        self._directory = directory
        self._pictures = corpus.make_pictures(directory / "pictures", 200)
        self._model = corpus.make_model(directory, self._pictures)

    def run(
        self, records: int, count: int = 0, cores: int = _CORES, workers: int = 0, options: Sequence[str] = ()
    ) -> Line:
        """Label `records` records, twice.

        Args:
            records: how many.
            count: parts of the output; 0 for the default.
            cores: that the command may use.
            workers: slots of the cluster, for the report.
            options: further ones of the command.
        """
        manifest = corpus.write_manifest(self._directory / "records.jsonl", self._pictures, records)
        output = self._directory / "labelled"
        plan = ownership.open_output(str(output), "label", (count or parts.parts_for(records)) * parts.RECORDS_PER_PART)
        pairs.say(f"{records:,} records, {plan.parts:,} parts, {cores} cores, {workers} workers")
        label = ["label", self._model, f"--input={manifest}", f"--output={output}", f"--threads={cores}", *options]
        these = ",".join(map(str, sorted(os.sched_getaffinity(0))[:cores]))
        command = ["taskset", "-c", these, *corpus.MMSTREAM, *label]
        first = pairs.run(command, {})
        written = {name: sum(_sizes(output / name)) for name in _WRITTEN}
        again = pairs.run(command, {})
        last = max(path.name for path in (output / "runs").iterdir())
        since = time.monotonic()
        reconciled = reconciliation.reconcile(str(output), last, plan, done="labelled")
        took = time.monotonic() - since
        if reconciled.skipped != records:
            raise SystemExit(f"only {reconciled.skipped:,} of {records:,} records were skipped")
        audit = pairs.run([*corpus.MMSTREAM, "audit", str(output), "--input", manifest], {})
        shutil.rmtree(output)
        return Line(
            records=records,
            parts=plan.parts,
            cores=cores,
            workers=workers,
            seconds=first.seconds,
            cpu_seconds=first.cpu_seconds,
            peak_bytes=first.peak_bytes,
            rerun_seconds=again.seconds,
            settle_seconds=took,
            audit_seconds=audit.seconds,
            audit_bytes=audit.peak_bytes,
            written=written,
        )


def measure(flags: argparse.Namespace, directory: Path) -> Iterator[Line]:
    """Run all jobs, one after the other."""
    bench = Bench(directory)
    for records in flags.records:
        yield bench.run(records)
    for count in flags.parts:
        yield bench.run(flags.fixed, count)
    for cores in range(1, _CORES + 1):
        yield bench.run(flags.fixed, cores=cores)
    if flags.workers:
        (directory / "flink").mkdir()
        with servers.flink(directory / "flink") as flink:
            options = [each for each in flink.options() if "parallelism" not in each]
            for workers in flags.workers:
                yield bench.run(flags.fixed, workers=workers, options=[*options, f"--parallelism={workers}"])


def table(lines: Sequence[Line]) -> Iterator[str]:
    """Yield Markdown: a table of the first jobs, and one of what comes after them."""
    yield "| records | parts | cores | workers | seconds | CPU s | peak MiB |"
    yield "| --: | --: | --: | --: | --: | --: | --: |"
    for line in lines:
        yield (
            f"| {line.records:,} | {line.parts:,} | {line.cores} | {line.workers or '–'} | {line.seconds:.0f} "
            f"| {line.cpu_seconds:.0f} | {line.peak_bytes / 2**20:,.0f} |"
        )
    yield ""
    yield "| records | parts | workers | rerun s | reconcile s | audit s | audit MiB | labels B | commit B | note B |"
    yield "| --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |"
    for line in lines:
        yield (
            f"| {line.records:,} | {line.parts:,} | {line.workers or '–'} | {line.rerun_seconds:.1f} "
            f"| {line.settle_seconds:.2f} | {line.audit_seconds:.1f} | {line.audit_bytes / 2**20:,.0f} "
            f"| {line.written['labels'] / line.records:,.0f} | {line.written['parts'] / line.parts:.0f} "
            f"| {line.written['runs'] / line.parts:.0f} |"
        )


def _sizes(folder: Path) -> Iterator[int]:
    return (path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="*", default=[64, 5_000, 20_000, 80_000], metavar="N")
    parser.add_argument("--fixed", type=int, default=20_000, metavar="N", help="records where others vary")
    parser.add_argument("--parts", type=int, nargs="*", default=[1, 1024, 16_384], metavar="N")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2], metavar="N", help="slots of the cluster")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mmstream-benchmark-") as directory:
        lines = list(measure(flags, Path(directory)))
    print(*table(lines), sep="\n")
    if flags.json:
        flags.json.write_text(json.dumps([dataclasses.asdict(line) for line in lines], indent=1) + "\n")


if __name__ == "__main__":
    main()
