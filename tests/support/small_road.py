"""What tests of whole jobs share: the small road's config, commands, and readers of what they leave behind."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmstream.storage import files

EMOJI = Path(__file__).parents[2] / "examples" / "emoji"
CONFIG = """
source: {{use: jsonl, path: {manifest}, id: id}}
fields:
  image:    {{use: image, size: [16, 16], max_bytes: 200000, max_pixels: 1000000}}
  text:     {{use: text, length: 8}}
  keywords: {{use: tags, min_count: 3}}
  group:    {{use: category}}
model:
  width: 16
  encoders: {{image: {{use: cnn, filters: [8, 16]}}, text: {{use: gru, units: 8}}}}
  heads:
    keywords: {{use: tagging, reads: image}}
    group:    {{use: classification, reads: image, weight: 0.5}}
    caption:  {{use: caption, target: text, reads: image, units: 16}}
  objectives:
    align: {{use: contrastive, fields: [image, text]}}
golden: 3
training: {{epochs: 2, batch_size: 32, seed: 1}}
"""


@dataclasses.dataclass(frozen=True)
class Road:
    """Where the small road's config, examples and model lie."""

    folder: Path
    config: Path
    examples: Path
    model: Path


def run(*arguments: object) -> int:
    """One `mmstream` command, in this process; returns its exit code."""
    from mmstream.cli import main

    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as end:
        return int(end.code or 0)


def read_lines(folder: Path) -> list[Any]:
    """All JSON lines of the files in a folder."""
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def read_rows(output: Path) -> list[dict[str, Any]]:
    """All label rows of an output, by id."""
    import pyarrow.parquet

    rows = [r for path in sorted(output.glob("labels/*.parquet")) for r in pyarrow.parquet.read_table(path).to_pylist()]
    return sorted(rows, key=lambda row: row["id"])


def snapshot(output: Path, *folders: str) -> dict[str, bytes]:
    """The bytes of every file below some folders of an output."""
    found = [path for name in folders for path in (output / name).rglob("*") if path.is_file()]
    return {str(path.relative_to(output)): path.read_bytes() for path in found}


def interrupt_after(patch: Any, epoch: int) -> None:
    """Let a training end as by Ctrl-C once an epoch, counted from 0, is saved.

    Args:
        patch: a MonkeyPatch.
        epoch: the epoch.
    """
    from mmstream.training.checkpoint import Checkpoint

    save = Checkpoint.on_epoch_end

    def interrupted(self: Any, ended: int, logs: Any = None) -> None:
        save(self, ended, logs)
        if ended == epoch:
            raise KeyboardInterrupt

    patch.setattr(Checkpoint, "on_epoch_end", interrupted)


COMMITTED = ("labels", "dead_letters", "parts")


def recommit(output: Path) -> None:
    """Make the commit record of the first part fit its files again, as somebody would who tampers with them."""
    path = output / "parts" / "part-00000.json"
    about = json.loads(path.read_text())
    about["checksums"] = {name: files.checksum(str(output / name)) for name in about["checksums"]}
    path.write_text(json.dumps(about))


def emoji_rows(count: int) -> list[dict[str, Any]]:
    """The first rows of the committed sample; their pictures lie in `EMOJI / "train"`."""
    lines = (EMOJI / "train" / "manifest.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines[:count]]


def write_manifest(path: Path, rows: Iterable[Any]) -> Path:
    """A manifest of rows; a row of bytes is written as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path
