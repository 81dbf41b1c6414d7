"""Compare `mmstream label` with a bare loop (same decoder, network and threads), and measure its memory per record."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import corpus
import pairs
import pyarrow.parquet

ENVIRONMENT = {"TF_NUM_INTRAOP_THREADS": "1"}
"""The variables that `mmstream label` sets for itself; the bare loop gets them, too."""
BARE = Path(__file__).with_name("bare_label.py")


def _measure(flags: argparse.Namespace, folder: Path) -> int:
    pairs.say("making pictures and a model")
    pictures = corpus.make_pictures(folder / "pictures", flags.pictures)
    thumbnails = corpus.make_thumbnails(folder / "thumbnails")
    model = corpus.make_model(folder, pictures)
    threads = f"--threads={flags.threads}"

    def mmstream(manifest: str, output: str) -> list[str]:
        return [*corpus.MMSTREAM, "label", model, f"--input={manifest}", f"--output={output}", threads]

    def bare(manifest: str, output: str) -> list[str]:
        return [sys.executable, str(BARE), model, manifest, output, threads]

    def write(records: int, of: list[Path] = pictures) -> str:
        return corpus.write_manifest(folder / f"{of[0].parent.name}-{records}.jsonl", of, records)

    labels: dict[str, dict[str, str]] = {}

    def look(name: str, manifest: str, usage: pairs.Usage, output: Path) -> None:
        files = sorted(output.rglob("*.parquet"))
        rows = [row for file in files for row in pyarrow.parquet.read_table(file, columns=["id", "group"]).to_pylist()]
        groups = {row["id"]: row["group"] for row in rows}
        if groups != labels.setdefault(manifest, groups) or len(rows) != len(groups):
            raise SystemExit(f"{name} labelled {manifest} otherwise than the runs before it")

    records = flags.records or pairs.records_for(bare, write, folder, flags.seconds, ENVIRONMENT)
    contenders = {"mmstream": mmstream, "bare": bare}
    works = pairs.run_pairs(contenders, (write(pairs.BATCH), write(records)), folder, flags.pairs, ENVIRONMENT, look)
    ratios = [bare.seconds / ours.seconds for ours, bare in zip(works["mmstream"], works["bare"], strict=True)]
    inputs = {count: write(count, thumbnails) for count in (pairs.BATCH, *flags.memory_records)}
    memory = pairs.bytes_a_record(mmstream, inputs, folder, ENVIRONMENT)
    return pairs.report("label", flags, (records, "records"), works, {"bare / mmstream": ratios}, memory=memory)


if __name__ == "__main__":
    sys.exit(pairs.main(__doc__, _measure))
