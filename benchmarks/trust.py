"""Measure the cost of trust: compare `mmstream label` with itself without commit records and supervisor."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import corpus
import pairs
import pyarrow.parquet

SHIM = Path(__file__).with_name("untrusting_label.py")
LEAST_RATIO = 0.95
ENVIRONMENT = {"TF_NUM_INTRAOP_THREADS": "1"}


def _measure(flags: argparse.Namespace, folder: Path) -> int:
    pairs.say("making pictures and a model")
    pictures = corpus.make_pictures(folder / "pictures", flags.pictures)
    model = corpus.make_model(folder, pictures)
    threads = f"--threads={flags.threads}"

    def mmstream(manifest: str, output: str) -> list[str]:
        return [*corpus.MMSTREAM, "label", model, f"--input={manifest}", f"--output={output}", threads]

    def shim(manifest: str, output: str) -> list[str]:
        return [sys.executable, str(SHIM), model, f"--input={manifest}", f"--output={output}", threads]

    def write(records: int) -> str:
        return corpus.write_manifest(folder / f"{records}.jsonl", pictures, records)

    def look(name: str, manifest: str, usage: pairs.Usage, output: Path) -> None:
        count = sum(pyarrow.parquet.read_metadata(path).num_rows for path in output.rglob("*.parquet"))
        if count != len(Path(manifest).read_text().splitlines()):
            raise SystemExit(f"{name} labelled {count} of the records of {manifest}")

    records = flags.records or pairs.records_for(shim, write, folder, flags.seconds, ENVIRONMENT)
    contenders = {"mmstream": mmstream, "shim": shim}
    works = pairs.run_pairs(contenders, (write(pairs.BATCH), write(records)), folder, flags.pairs, ENVIRONMENT, look)
    ratios = [shim.seconds / ours.seconds for ours, shim in zip(works["mmstream"], works["shim"], strict=True)]
    return pairs.report(
        "trust", flags, (records, "records"), works, {"shim / mmstream": ratios}, least_ratio=LEAST_RATIO, judged="high"
    )


if __name__ == "__main__":
    sys.exit(pairs.main(__doc__, _measure))
