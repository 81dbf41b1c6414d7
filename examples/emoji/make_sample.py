"""Choose the sample in this folder from a full set of emoji drawings; the same input gives the same files.

    python examples/emoji/make_sample.py ../shared/data/emoji [--output examples/emoji]

The folder holds `manifest.jsonl` (id, image, text, keywords, group, style) and the pictures that it names, two
drawings of every emoji: Twemoji's and OpenMoji's. Written are `train/` and `to_label/`, each a manifest with its
pictures, in place of those of an earlier run.

How emoji are chosen: one whose drawing is, byte for byte, also that of another emoji or of the other style is left
out, since two captions for one picture teach nothing; so are those without keywords, but for flags, which have few.
From what is left, evenly spaced in Unicode's order, every group gives the same number, flags half as many.

What is kept back to be labelled, in every group alike: one drawing of five emoji, whose other drawing stays in
training, and both drawings of two emoji, which the model then never sees. `twin_in_training` says which; no job
reads it, nor the true text, keywords and group that the page shows beside what the model gave.
Among them stand one broken file or row of every kind that turns up in real folders.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import struct
import zlib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

Row = dict[str, Any]

STYLES = ("twemoji", "openmoji")
EMOJI_PER_GROUP = 78
FLAGS = 36
KEPT_BACK_ONE_DRAWING = 5
KEPT_BACK_BOTH = 2
HUGE_SIDE_PIXELS = 100_000


def choose_emoji(rows: list[Row], folder: Path) -> dict[str, list[Row]]:
    """By group, the chosen emoji as one row each, in Unicode's order."""
    pictures = {row["id"]: (folder / row["image"]).read_bytes() for row in rows}
    uses = Counter(pictures.values())
    groups = defaultdict(list)
    for row in rows:
        drawings = [pictures[f"{style}/{name_of(row)}"] for style in STYLES]
        told_apart = all(uses[drawing] == 1 for drawing in drawings)
        if row["style"] == STYLES[0] and told_apart and (row["keywords"] or row["group"] == "flags"):
            groups[row["group"]].append(row)
    return {
        group: evenly_spaced(members, FLAGS if group == "flags" else EMOJI_PER_GROUP)
        for group, members in groups.items()
    }


def split_kept_back(members: list[Row]) -> tuple[set[str], set[str]]:
    """Ids kept back from one group: of emoji whose twin stays in training, and of those that have none there."""
    shuffled = sorted((name_of(row) for row in members), key=stable_hash)
    one = {f"{STYLES[i % 2]}/{name}" for i, name in enumerate(shuffled[:KEPT_BACK_ONE_DRAWING])}
    both = shuffled[KEPT_BACK_ONE_DRAWING : KEPT_BACK_ONE_DRAWING + KEPT_BACK_BOTH]
    return one, {f"{style}/{name}" for name in both for style in STYLES}


def broken_files(picture: bytes) -> dict[str, bytes]:
    """Files that call themselves pictures and are none; `picture` is a good PNG to spoil."""
    page = "<!doctype html>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n"
    return {
        "broken/half_a_picture.png": picture[: len(picture) // 2],
        "broken/empty.png": b"",
        "broken/error_page.png": page.encode(),
        "broken/shopping_list.txt": b"milk, bread, a picture of a cat\n",
        "broken/too_many_pixels.png": huge_png(HUGE_SIDE_PIXELS),
    }


def huge_png(side: int) -> bytes:
    """A PNG of a few bytes whose header claims side × side pixels: a decompression bomb, defused."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(64))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def with_broken_lines(rows: list[Row], broken: dict[str, bytes]) -> list[str]:
    """The manifest's lines, the broken ones spread evenly among the good."""
    lines = [as_line(row) for row in rows]
    bad = [as_line({"id": path.rpartition(".")[0], "image": path}) for path in broken]
    bad.append(as_line({"id": "broken/no_such_file", "image": "broken/no_such_file.png"}))
    bad.append(lines[len(lines) // 2][:70])  # cut off in the middle: not JSON
    bad.append(lines[0])  # an id that was there before
    for count, line in enumerate(bad, 1):
        lines.insert(count * len(lines) // (len(bad) + 1), line)
    return lines


def write_set(folder: Path, lines: list[str], files: dict[str, bytes]) -> None:
    """A manifest and its files, in place of an earlier sample; a folder that holds none is left alone."""
    if folder.exists():
        if not (folder / "manifest.jsonl").exists():
            raise SystemExit(f"{folder} exists and holds no manifest.jsonl: choose another --output")
        print(f"writing over {folder}")
        shutil.rmtree(folder)
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    (folder / "manifest.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def make_sample(source: Path, output: Path) -> None:
    """Write `train` and `to_label` under `output`."""
    rows = [json.loads(line) for line in (source / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    chosen = choose_emoji(rows, source)
    names = {name_of(row) for members in chosen.values() for row in members}
    with_twin: set[str] = set()
    without_twin: set[str] = set()
    for members in chosen.values():
        one, both = split_kept_back(members)
        with_twin |= one
        without_twin |= both
    kept_back = with_twin | without_twin

    train = [row for row in rows if name_of(row) in names and row["id"] not in kept_back]
    to_label = [row | {"twin_in_training": row["id"] in with_twin} for row in rows if row["id"] in kept_back]
    to_label.sort(key=lambda row: stable_hash(row["id"]))
    broken = broken_files((source / next(row["image"] for row in train)).read_bytes())

    write_set(output / "train", [as_line(row) for row in train], pictures_of(train, source))
    lines = with_broken_lines(to_label, broken)
    write_set(output / "to_label", lines, pictures_of(to_label, source) | broken)
    print(f"{len(names)} emoji: {len(train)} drawings to train on")
    print(
        f"{len(lines)} rows to label: {len(with_twin)} drawings whose twin is in training, "
        f"{len(without_twin)} of emoji never seen, {len(lines) - len(to_label)} broken"
    )


def pictures_of(rows: list[Row], source: Path) -> dict[str, bytes]:
    """Path and bytes of every picture that the rows name."""
    return {row["image"]: (source / row["image"]).read_bytes() for row in rows}


def evenly_spaced(items: list[Row], count: int) -> list[Row]:
    """`count` items at equal distances, in order; all of them where there are no more.

    >>> evenly_spaced([1, 2, 3, 4, 5, 6], 3)
    [1, 3, 5]
    """
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def name_of(row: Row) -> str:
    """The emoji that a drawing shows: its id without the style."""
    return row["id"].partition("/")[2]


def stable_hash(text: str) -> str:
    """An order that has nothing to do with the alphabet and is the same everywhere."""
    return hashlib.sha256(text.encode()).hexdigest()


def as_line(row: Row) -> str:
    """A row of a manifest."""
    return json.dumps(row, ensure_ascii=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", type=Path, help="folder with manifest.jsonl and the drawings")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="default: beside this script")
    args = parser.parse_args()
    make_sample(args.source, args.output)


if __name__ == "__main__":
    main()
