"""`mmstream preprocess` against a bare loop with the same decoder and threads; and its memory by the record."""

from __future__ import annotations

import argparse
import datetime
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import corpus
import pairs

BARE = Path(__file__).with_name("bare_preprocess.py")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; the exit code is 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    pairs.add_flags(parser)
    flags = pairs.settle_flags(parser.parse_args(argv))
    with tempfile.TemporaryDirectory(prefix="mmstream-benchmark-") as directory:
        return _measure(flags, Path(directory))


def _measure(flags: argparse.Namespace, folder: Path) -> int:
    pairs.say("making pictures and a fitted transform")
    pictures = corpus.make_pictures(folder / "pictures", flags.pictures)
    thumbnails = corpus.make_thumbnails(folder / "thumbnails")
    config, examples = corpus.make_examples(folder, pictures)
    transform, threads = str(Path(examples) / "transform"), f"--threads={flags.threads}"

    def mmstream(manifest: str, output: str) -> list[str]:
        command = [*corpus.MMSTREAM, "preprocess", config, f"--output={output}", threads]
        return [*command, "--set", f"source.path={manifest}"]

    def bare(manifest: str, output: str) -> list[str]:
        return [sys.executable, str(BARE), config, transform, manifest, output, threads]

    def write(records: int, of: list[Path] = pictures) -> str:
        return corpus.write_manifest(folder / f"{of[0].parent.name}-{records}.jsonl", of, records)

    records = flags.records or pairs.records_for(bare, write, folder, flags.seconds, {})
    inputs = write(pairs.BATCH), write(records)
    until_second_pass: dict[str, list[float]] = {path: [] for path in inputs}

    def look(name: str, path: str, usage: pairs.Usage, output: Path) -> None:
        if name == "mmstream":
            until_second_pass[path].append(_second_pass(output) - usage.started)

    works = pairs.run_pairs({"mmstream": mmstream, "bare": bare}, inputs, folder, flags.pairs, {}, look)
    startup = statistics.median(until_second_pass[inputs[0]])
    analysis = [seconds - startup for seconds in until_second_pass[inputs[1]]]
    couples = list(zip(works["mmstream"], works["bare"], analysis, strict=True))
    ratios = {
        "bare / mmstream": [bare.seconds / ours.seconds for ours, bare, _ in couples],
        "bare / mmstream without its analysis": [bare.seconds / (ours.seconds - a) for ours, bare, a in couples],
    }
    pairs.say(f"analysis: {statistics.median(analysis):.1f} s of mmstream's work")
    growing = {count: write(count, thumbnails) for count in (pairs.BATCH, *flags.memory_records)}
    memory = pairs.bytes_a_record(mmstream, growing, folder, {})
    return pairs.report("preprocess", flags, records, works, ratios, memory)


def _second_pass(output: Path) -> float:
    """When the second pass began, as `time.time()`: the analysis is done when the run gets its name."""
    (name,) = [folder.name for folder in (output / "runs").iterdir()]
    return datetime.datetime.strptime(name, "%Y-%m-%dT%H-%M-%S.%fZ").replace(tzinfo=datetime.UTC).timestamp()


if __name__ == "__main__":
    sys.exit(main())
