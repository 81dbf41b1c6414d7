"""Show what a labelling job gave, beside what is true, as one HTML page that needs nothing else.

    python examples/emoji/page.py --labels OUT/labels --dead-letters OUT/dead_letters --output page.html \\
        --metrics MODEL/evaluation/test/metrics.json --manifest examples/emoji/to_label/manifest.jsonl

Captions, tags and file names come from outside: the template escapes them all, only pictures that the job could
label are embedded, and the page forbids itself scripts and anything from the network.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pyarrow.parquet

Row = dict[str, Any]

MAX_PICTURE_BYTES = 2 << 20
ROWS_PRINTED = 5
PICTURE_TYPES = {
    rb"\x89PNG\r\n\x1a\n": "image/png",
    rb"\xff\xd8\xff": "image/jpeg",
    rb"GIF8[79]a": "image/gif",
    rb"RIFF....WEBP": "image/webp",
}


@dataclasses.dataclass(frozen=True)
class Tag:
    """A tag that the model gave; `right` is None where the truth is not known."""

    name: str
    score: float | None
    right: bool | None


@dataclasses.dataclass(frozen=True)
class Card:
    """One labelled picture. What the model gave, and what the manifest says is true; None where either is silent.

    Attributes:
        id: the record's id.
        file: the picture's name as the manifest has it.
        picture: the picture as a data URI.
        caption_match: how near the caption lies to the picture, from -1 to 1; None of a head that does not match.
        twin_in_training: whether another drawing of the same emoji was trained on.
        missed: true tags that the model did not give.
    """

    id: str
    file: str
    picture: str | None
    twin_in_training: bool | None
    caption: str | None
    caption_score: float | None
    caption_match: float | None
    true_caption: str | None
    group: str | None
    group_score: float | None
    true_group: str | None
    tags: list[Tag]
    missed: list[str]

    @property
    def caption_right(self) -> bool | None:
        """Whether the caption is the true one, word for word."""
        return is_same(self.caption, self.true_caption)

    @property
    def group_right(self) -> bool | None:
        """Whether the group is the true one."""
        return is_same(self.group, self.true_group)


@dataclasses.dataclass(frozen=True)
class Section:
    """Cards that belong together, under one heading."""

    title: str
    about: str
    cards: list[Card]

    @property
    def scores(self) -> list[str]:
        """How the model did here, in words; what has no truth is left out."""
        parts = []
        for what in ("caption", "group"):
            known = [right for card in self.cards if (right := getattr(card, f"{what}_right")) is not None]
            if known:
                parts.append(f"{what} right for {sum(known)} of {len(known)}")
        tags = [tag.right for card in self.cards for tag in card.tags if tag.right is not None]
        return [*parts, f"{sum(tags)} of {len(tags)} tags right"] if tags else parts


@dataclasses.dataclass(frozen=True)
class Trouble:
    """One dead letter, as the page shows it."""

    name: str
    error: str
    message: str
    origin: str
    place: str


@dataclasses.dataclass(frozen=True)
class Books:
    """What became of every record that the job read."""

    read: int
    labelled: int
    dead_lettered: int
    skipped: int

    @property
    def missing(self) -> int:
        """Records that nothing accounts for; other than 0 is a bug in the job."""
        return self.read - self.labelled - self.dead_lettered - self.skipped

    @property
    def equation(self) -> str:
        """The books in one line."""
        kept = f" + {self.skipped} kept from an earlier run" if self.skipped else ""
        return f"{self.read} read = {self.labelled} labelled + {self.dead_lettered} dead letters{kept}"


@dataclasses.dataclass(frozen=True)
class Measure:
    """One figure of the evaluation, with what it means."""

    name: str
    value: str
    meaning: str
    details: str


def read_labels(folder: Path) -> list[Row]:
    """Every label row of a job's parquet parts."""
    return [
        row for path in sorted(folder.glob("part-*.parquet")) for row in pyarrow.parquet.read_table(path).to_pylist()
    ]


def read_manifest(path: Path) -> dict[str, Row]:
    """By id, the rows that are JSON objects with an id; of two with one id, the first, as the job has it."""
    rows: dict[str, Row] = {}
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # the job has made a dead letter of it
        if isinstance(row, dict) and "id" in row:
            rows.setdefault(str(row["id"]), row)
    return rows


def read_dead_letters(folder: Path) -> list[Trouble]:
    """Every dead letter, in the order of the input."""
    letters = [
        json.loads(line)
        for path in sorted(folder.glob("part-*.jsonl"))
        for line in path.read_text(encoding="utf-8").split("\n")
        if line
    ]
    return [as_trouble(letter) for letter in sorted(letters, key=lambda letter: in_order(letter.get("origin") or ""))]


def as_trouble(letter: Row) -> Trouble:
    """What a dead letter has to say: the file where one is named, the raw row where none is."""
    row = letter.get("row")
    name = row.get("image") if isinstance(row, dict) else row
    if not isinstance(name, str):
        name = letter.get("id") or json.dumps(row, ensure_ascii=False)
    return Trouble(
        name=shorten(name, 120),
        error=str(letter.get("error") or ""),
        message=shorten(str(letter.get("message") or ""), 400),
        origin=str(letter.get("origin") or ""),
        place=" · ".join(filter(None, (letter.get("stage"), letter.get("component") or letter.get("field")))),
    )


def make_card(label: Row, row: Row, folder: Path) -> Card:
    """What the model gave (`label`) beside what is true (`row`)."""
    true_tags = as_words(row.get("keywords"))
    given = label.get("keywords") or []
    scores = label.get("keywords_score") or [None] * len(given)
    return Card(
        id=str(label["id"]),
        file=str(row.get("image") or ""),
        picture=embed(folder, row.get("image")),
        twin_in_training=row.get("twin_in_training"),
        caption=label.get("caption"),
        caption_score=label.get("caption_score"),
        caption_match=label.get("caption_match"),
        true_caption=as_word(row.get("text")),
        group=label.get("group"),
        group_score=label.get("group_score"),
        true_group=as_word(row.get("group")),
        tags=[
            Tag(name, score, None if true_tags is None else name in true_tags)
            for name, score in zip(given, scores, strict=True)
        ],
        missed=[tag for tag in true_tags or [] if tag not in given],
    )


def embed(folder: Path, name: object) -> str | None:
    """A picture under `folder` as a data URI; None where it lies elsewhere or is no picture that a browser shows."""
    if not isinstance(name, str):
        return None
    try:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()) or path.stat().st_size > MAX_PICTURE_BYTES:
            return None
        data = path.read_bytes()
    except (OSError, ValueError):
        return None
    for start, kind in PICTURE_TYPES.items():
        if re.match(start, data, re.DOTALL):
            return f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return None


def make_sections(cards: Sequence[Card]) -> list[Section]:
    """Cards by how much of them the model has seen in training."""
    sections = (
        (True, "Known emoji, other drawing", "One studio’s drawing was trained on; this is the other studio’s."),
        (False, "Emoji never seen", "Neither drawing was trained on. All the model has is what looks alike."),
        (None, "Pictures", ""),
    )
    chosen = (
        Section(title, about, [card for card in cards if card.twin_in_training is twin])
        for twin, title, about in sections
    )
    return [section for section in chosen if section.cards]


def explain_metrics(metrics: Row) -> list[Measure]:
    """The figures of metrics.json, each with a sentence; those that are not there are left out."""
    heads = metrics.get("heads", {})
    measures = []
    if (group := heads.get("group", {})).get("accuracy") is not None:
        measures.append(
            Measure(
                "Group",
                percent(group["accuracy"]),
                "of pictures put in the right group",
                figures(group, {"macro_f1": "macro F1"}),
            )
        )
    if (tags := heads.get("keywords", {})).get("map") is not None:
        measures.append(
            Measure(
                "Tags",
                f"{tags['map']:.2f}",
                "mean average precision: 1 if every tag ranked its own pictures first",
                figures(tags, {"micro_f1": "micro F1", "macro_f1": "macro F1"}),
            )
        )
    if (caption := heads.get("caption", {})).get("exact") is not None:
        measures.append(
            Measure(
                "Caption",
                percent(caption["exact"]),
                "of captions equal to the true one, word for word",
                figures(caption, {"chrf": "chrF", "bleu4": "BLEU-4"}),
            )
        )
    written = caption.get("written", {})
    if (first := written.get("first_for_image")) is not None:
        measures.append(
            Measure(
                "Caption → image",
                percent(first),
                "of captions lie nearest to their own picture, of all that were written",
                figures(written, {"unique": "no other got it", "in_training": "known names"}, percent),
            )
        )
    for way, found in metrics.get("retrieval", {}).items():
        if found.get("r@10") is None:
            continue
        seen, _, sought = way.partition("->")
        candidates = found.get("candidates")
        among = f" of {candidates}" if candidates else ""
        chance = [f"by chance {percent(min(1.0, 10 / candidates))}"] if candidates else []
        ranks = figures(found, {"r@1": "first", "r@5": "first five"}, percent)
        measures.append(
            Measure(
                f"{seen} → {sought}".capitalize(),
                percent(found["r@10"]),
                f"of {seen}s have their {sought} among the ten nearest{among}",
                " · ".join(filter(None, (ranks, *chance))),
            )
        )
    return measures


def figures(values: Row, names: dict[str, str], show: Any = None) -> str:
    """Secondary figures in one line, such as "macro F1 0.68"."""
    show = show or (lambda value: f"{value:.2f}" if abs(value) <= 1 else f"{value:.1f}")
    return " · ".join(f"{name} {show(values[key])}" for key, name in names.items() if values.get(key) is not None)


def render(**values: Any) -> str:
    """The page. Everything in it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = lambda name: str(name).replace("_", " ")
    environment.filters["score"] = lambda score: "" if score is None else f"{score:.2f}"
    return environment.get_template("page.html.j2").render(values)


def table(rows: Sequence[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    """Rows as aligned columns, no column wider than it may be."""
    clean = [[shorten(printable(cell), width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    widest = [max(map(len, column)) for column in zip(*clean, strict=True)]
    for row in clean:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widest, strict=True)).rstrip()


def print_summary(page: Path, cards: Sequence[Card], books: Books) -> None:
    """What a terminal shows at the end: a few rows from all over, the books, and where the page is."""
    some = [cards[i * len(cards) // ROWS_PRINTED] for i in range(ROWS_PRINTED)] if len(cards) > ROWS_PRINTED else cards
    rows = [("picture", "caption", "in truth", "group", "tags")]
    for card in some:
        tags = ", ".join(f"{tag.name} {tag.score or 0:.2f}" for tag in card.tags[:3])
        rows.append(
            (card.id, card.caption or "–", card.true_caption or "–", (card.group or "–").replace("_", " "), tags or "–")
        )
    print()
    for line in table(rows, (32, 26, 26, 17, 44)):
        print(line)
    print(f"\n{books.equation}")
    print(f"The page: {page.resolve()}")


def in_order(origin: str) -> list[str | int]:
    """A sort key that puts line 9 of a file before line 10."""
    name, _, line = origin.rpartition(":")
    return [name, int(line)] if line.isdecimal() else [origin, 0]


def is_same(given: str | None, true: str | None) -> bool | None:
    """Whether two texts say the same, capitals and spaces apart; None where the truth is not known."""
    return None if true is None else (given or "").casefold().split() == true.casefold().split()


def as_word(value: object) -> str | None:
    """A text that is one, or None."""
    return value if isinstance(value, str) and value else None


def as_words(value: object) -> list[str] | None:
    """A list of texts, or None where there is no such list."""
    return [str(item) for item in value] if isinstance(value, list) else None


def percent(share: float) -> str:
    """A share as a whole percentage."""
    return f"{100 * share:.0f} %"


def shorten(text: str, length: int) -> str:
    """The text, cut where it is longer than `length` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def printable(text: str) -> str:
    """The text without characters that could steer a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--labels", type=Path, required=True, help="folder with part-*.parquet; label.json beside it")
    parser.add_argument("--dead-letters", type=Path, required=True, help="folder with part-*.jsonl")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics.json of `mmstream evaluate`")
    parser.add_argument(
        "--manifest", type=Path, required=True, help="what was labelled, with the truth; pictures beside it"
    )
    parser.add_argument("--output", type=Path, required=True, help="the HTML file to write")
    args = parser.parse_args(argv)
    try:
        manifest = read_manifest(args.manifest)
        labels = {str(label["id"]): label for label in read_labels(args.labels)}
        troubles = read_dead_letters(args.dead_letters)
        metrics = json.loads(args.metrics.read_text(encoding="utf-8"))
        totals = json.loads((args.labels.parent / "label.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"page.py: {error}")
    if not labels:
        sys.exit(f"page.py: no labels in {args.labels}")

    ids = [*(id_ for id_ in manifest if id_ in labels), *(id_ for id_ in labels if id_ not in manifest)]
    cards = [make_card(labels[id_], manifest.get(id_, {}), args.manifest.parent) for id_ in ids]
    books = Books(*(int(totals[name]) for name in ("read", "labelled", "dead_lettered", "skipped")))
    page = render(
        books=books,
        sections=make_sections(cards),
        count=len(cards),
        troubles=troubles,
        measures=explain_metrics(metrics),
        split=metrics.get("split", "test"),
        records=metrics.get("records"),
        fingerprint=next(iter(labels.values())).get("_fingerprint") or "",
    )
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(page, encoding="utf-8", errors="replace")
    print_summary(args.output, cards, books)


if __name__ == "__main__":
    main()
