"""How the cost of `mmstream label` grows with records, cores and workers, and what an output holds for each record.

Pictures of 640 x 480, as in the other benchmarks. Workers are slots of a Flink cluster on this machine, for which Java
17 and Maven must be there; `--workers` without a number leaves them out.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import corpus
import pairs

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "cluster"))
import servers


@dataclasses.dataclass(frozen=True)
class Line:
    """One run.

    Attributes:
        records: that were labelled.
        cores: that the process may use.
        workers: slots of the cluster; 0 where there is none.
        seconds: wall clock, start-up included.
        cpu_seconds: user and system, of the command alone.
        peak_bytes: memory of the command.
        parts: of the output.
        bytes_a_record: of labels, dead letters and commit records, by kind of file.
    """

    records: int
    cores: int
    workers: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    parts: int
    bytes_a_record: dict[str, float]


def measure(flags: argparse.Namespace, directory: Path) -> list[Line]:
    """All runs, one after the other."""
    pairs.say("making pictures and a model")
    pictures = corpus.make_pictures(directory / "pictures", 200)
    model = corpus.make_model(directory, pictures)
    lines = []

    def run(records: int, cores: int, workers: int, *options: str) -> None:
        pairs.say(f"{records:,} records, {cores} cores, {workers} workers")
        manifest, output = corpus.write_manifest(directory / "records.jsonl", pictures, records), directory / "labelled"
        label = ["label", model, f"--input={manifest}", f"--output={output}", f"--threads={cores}", *options]
        used = pairs.run(["taskset", "-c", f"0-{cores - 1}", *corpus.MMSTREAM, *label], {})
        held = {name: sum(sizes_below(output / name)) / records for name in ("labels", "dead_letters", "parts")}
        parts = len(list((output / "parts").glob("part-*.json")))
        lines.append(Line(records, cores, workers, used.seconds, used.cpu_seconds, used.peak_bytes, parts, held))
        shutil.rmtree(output)

    for records in flags.records:
        run(records, os.cpu_count() or 1, 0)
    for cores in range(1, os.cpu_count() or 1):
        run(flags.records[-1], cores, 0)
    if flags.workers:
        (directory / "flink").mkdir()
        with servers.flink(directory / "flink") as flink:
            for workers in flags.workers:
                options = [each for each in flink.options() if "parallelism" not in each]
                run(flags.records[-1], os.cpu_count() or 1, workers, *options, f"--parallelism={workers}")
    return lines


def sizes_below(folder: Path) -> Iterator[int]:
    """Bytes of every file."""
    return (path.stat().st_size for path in folder.rglob("*") if path.is_file())


def table(lines: list[Line]) -> Iterator[str]:
    """Markdown."""
    yield "| records | cores | workers | seconds | records a second | CPU seconds | peak MiB | parts |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for line in lines:
        rate, memory = line.records / line.seconds, line.peak_bytes / 2**20
        yield (
            f"| {line.records:,} | {line.cores} | {line.workers or '-'} | {line.seconds:.0f} | {rate:.0f} "
            f"| {line.cpu_seconds:.0f} | {memory:,.0f} | {line.parts} |"
        )
    yield ""
    yield "| bytes a record | labels | dead letters | commit records |"
    yield "| --- | --- | --- | --- |"
    held = lines[-1].bytes_a_record
    yield f"| {lines[-1].records:,} records | {held['labels']:.0f} | {held['dead_letters']:.1f} | {held['parts']:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[5_000, 20_000, 80_000], metavar="N")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2], metavar="N")
    parser.add_argument("--json", type=Path)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mmstream-benchmark-") as directory:
        lines = measure(flags, Path(directory))
    print(*table(lines), sep="\n")
    if flags.json:
        flags.json.write_text(json.dumps([dataclasses.asdict(line) for line in lines], indent=1))


if __name__ == "__main__":
    main()
