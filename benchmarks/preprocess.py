"""Compare `mmstream preprocess` with a bare loop (same decoder and threads), and measure its memory per record."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import corpus
import pairs

BARE = Path(__file__).with_name("bare_preprocess.py")


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

    def look(name: str, path: str, usage: pairs.Usage, output: Path) -> None:
        if name == "mmstream":
            count = json.loads((output / "preprocess.json").read_text())["examples"]
            if count not in (pairs.BATCH, records):
                raise SystemExit(f"mmstream made {count:,} examples of {path}")

    works = pairs.run_pairs({"mmstream": mmstream, "bare": bare}, inputs, folder, flags.pairs, {}, look)
    ratios = [bare.seconds / ours.seconds for ours, bare in zip(works["mmstream"], works["bare"], strict=True)]
    growing = {count: write(count, thumbnails) for count in (pairs.BATCH, *flags.memory_records)}
    memory = pairs.bytes_a_record(mmstream, growing, folder, {})
    return pairs.report("preprocess", flags, (records, "records"), works, {"bare / mmstream": ratios}, memory=memory)


if __name__ == "__main__":
    sys.exit(pairs.main(__doc__, _measure))
