"""Measure what a rerun costs that has nothing to do: `mmstream label` once more on the same 100,000 records."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import corpus
import pairs

RECORDS = 100_000
RERUN = """
import sys
from mmstream.cli import main
code = main(sys.argv[1:])
sys.exit("TensorFlow was loaded" if "tensorflow" in sys.modules else code)
"""


def _measure(flags: argparse.Namespace, folder: Path) -> int:
    pairs.say("making pictures and a model")
    pictures = corpus.make_pictures(folder / "pictures", flags.pictures)
    model = corpus.make_model(folder, pictures)
    records = flags.records or RECORDS
    manifest, output = corpus.write_manifest(folder / "records.jsonl", pictures, records), folder / "labelled"
    label = ["label", model, f"--input={manifest}", f"--output={output}", f"--threads={flags.threads}"]
    pairs.say(f"labelling {records:,} records")
    works = {"first run": pairs.run([*corpus.MMSTREAM, *label], {})}
    works["rerun"] = pairs.run([sys.executable, "-c", RERUN, *label], {})
    skipped = json.loads((output / "label.json").read_text())["skipped"]
    if skipped != records:
        raise SystemExit(f"only {skipped:,} of {records:,} records were skipped")
    print(f"rerun: {records:,} records, {flags.threads} threads\n")
    print(f"{'':<18}{'seconds':>9}{'CPU s':>9}{'peak MiB':>10}")
    for name, used in works.items():
        print(f"{name:<18}{used.seconds:>9.1f}{used.cpu_seconds:>9.1f}{used.peak_bytes / 2**20:>10,.0f}")
    if flags.json:
        flags.json.write_text(json.dumps({name: vars(used) for name, used in works.items()}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(pairs.main(__doc__, _measure))
