"""The emoji demo: its committed sample, and the page that it ends with."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

EMOJI = Path(__file__).parents[2] / "examples" / "emoji"
MAX_SAMPLE_BYTES = 6_000_000
BLOCK_BYTES = 4096
SCRIPT = "<script>alert(1)</script>"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"emoji_{name}", EMOJI / f"{name}.py")
    assert spec
    assert spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page() -> ModuleType:
    return load("page")


def label(id_: str, **changes: Any) -> dict[str, Any]:
    given = {
        "id": id_,
        "keywords": ["animal", "face"],
        "keywords_score": [0.91, 0.42],
        "group": "animals_&_nature",
        "group_score": 0.97,
        "caption": "cat face",
        "caption_score": 0.66,
        "_fingerprint": "f1",
    }
    return given | changes


def a_picture() -> Path:
    return min((EMOJI / "to_label" / "twemoji").iterdir())


class Job:
    """What a labelling job leaves behind, with three rows: one labelled, one whose names are an attack, one broken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = [
            {
                "id": "a/cat",
                "image": "cat.png",
                "text": "Cat Face",
                "keywords": ["animal", "whiskers"],
                "group": "objects",
            },
            {"id": "b", "image": f"{SCRIPT}.png", "text": f"truth {SCRIPT}", "keywords": [f"tag {SCRIPT}"]},
            {"id": "c", "image": "broken/half.png"},
        ]
        self.labels = [label("a/cat"), label("b", caption=f"given {SCRIPT}", keywords=None, keywords_score=None)]
        self.heads = {"group": {"accuracy": 0.703, "macro_f1": 0.68}}
        self.letters = [self.letter("c", 3, "image file is truncated", self.rows[2])]
        shutil.copy(a_picture(), folder / "cat.png")

    @staticmethod
    def letter(id_: str, line: int, message: str, row: Any) -> dict[str, Any]:
        place = {"stage": "decode", "field": "image", "component": "field:image", "error": "OSError"}
        return {"id": id_, "origin": f"manifest.jsonl:{line}", "message": message, "row": row} | place

    def render(self, page: ModuleType, **totals: int) -> str:
        write_lines(self.folder / "manifest.jsonl", self.rows)
        for name in ("labels", "dead_letters"):
            (self.folder / name).mkdir(exist_ok=True)
        for part, row in enumerate(self.labels):
            pyarrow.parquet.write_table(
                pyarrow.Table.from_pylist([row]), self.folder / f"labels/part-{part:05d}.parquet"
            )
        write_lines(self.folder / "dead_letters/part-00000.jsonl", self.letters)
        counts = {"labelled": len(self.labels), "dead_lettered": len(self.letters), "skipped": 0} | totals
        (self.folder / "label.json").write_text(json.dumps({"read": sum(counts.values())} | counts))
        metrics = {
            "split": "test",
            "records": 40,
            "heads": self.heads,
            "retrieval": {"image->text": {"r@1": 0.1, "r@5": 0.2, "r@10": 0.36, "candidates": 40}},
        }
        (self.folder / "metrics.json").write_text(json.dumps(metrics))
        paths = {
            "labels": "labels",
            "dead-letters": "dead_letters",
            "metrics": "metrics.json",
            "manifest": "manifest.jsonl",
            "output": "page.html",
        }
        page.main([text for name, path in paths.items() for text in (f"--{name}", str(self.folder / path))])
        return (self.folder / "page.html").read_text(encoding="utf-8")


def write_lines(path: Path, rows: list[Any]) -> None:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def test_shows_what_was_given_beside_what_is_true(page: ModuleType, job: Job) -> None:
    html = job.render(page)
    assert "<h3><bdi>cat face</bdi></h3>" in html
    assert "actually <bdi>objects</bdi>" in html
    assert html.count('<li class="right"') == 1, "of two tags given, `animal` is the right one"
    assert "not given: <bdi>whiskers</bdi>" in html
    assert "caption right for 1 of 2" in html, "capitals make no difference"
    assert "0.97" in html


def test_says_what_the_metrics_mean(page: ModuleType, job: Job) -> None:
    html = job.render(page)
    assert "70 %" in html
    assert "of images have their text among the ten nearest of 40" in html
    assert "by chance 25 %" in html
    assert "BLEU" not in html, "a figure that was not measured is not shown"


def test_says_how_well_a_caption_fits_its_picture_where_the_head_matches(page: ModuleType, job: Job) -> None:
    assert "fits the picture" not in job.render(page)
    job.labels[0]["caption_match"] = 0.713
    written = {"first_for_image": 0.54, "unique": 0.69, "in_training": 0.7}
    job.heads["caption"] = {"exact": 0.1, "written": written}

    html = job.render(page)

    assert re.search(r"fits the picture\s*<span class=\"score\">0.71</span>", html)
    assert "54 %" in html
    assert "no other got it 69 %" in html


def test_escapes_captions_tags_and_file_names(page: ModuleType, job: Job) -> None:
    job.letters.append(job.letter("", 4, f"not JSON: {SCRIPT}", f'{{"image": "{SCRIPT}'))
    html = job.render(page)
    assert "<script" not in html.lower()
    assert html.count("&lt;script&gt;") >= 6


def test_shows_dead_letters_with_file_and_reason(page: ModuleType, job: Job) -> None:
    job.letters.insert(0, job.letter("", 10, "no such column", {"text": "a row without an image"}))
    html = job.render(page)
    assert "broken/half.png" in html
    assert "image file is truncated" in html
    assert "a row without an image" in html
    assert html.index("manifest.jsonl:3<") < html.index("manifest.jsonl:10<"), "in the order of the input"


def test_embeds_labelled_pictures_and_nothing_else(page: ModuleType, job: Job) -> None:
    html = job.render(page)
    assert re.findall(r'src="([^"]{22})', html) == ["data:image/png;base64,"]


@pytest.mark.parametrize("name", ["../cat.png", "/etc/hostname", "page.html", "no\0name", "missing.png", "", None, 7])
def test_embeds_no_file_that_is_elsewhere_or_no_picture(page: ModuleType, tmp_path: Path, name: object) -> None:
    shutil.copy(a_picture(), tmp_path / "cat.png")
    folder = tmp_path / "input"
    folder.mkdir()
    (folder / "page.html").write_text("<!doctype html>")
    assert page.embed(folder, name) is None


def test_needs_nothing_from_outside(page: ModuleType, job: Job) -> None:
    html = job.render(page)
    loads = re.findall(r"""\b(?:src|srcset|href|action|data)\s*=\s*["']?([^\s"'>]+)""", html)
    assert loads
    assert all(url.startswith("data:image/") for url in loads)
    assert not re.search(r"url\(|@import|https?://|<link|<iframe", html)
    assert "default-src 'none'" in html


def test_says_so_when_the_books_do_not_balance(page: ModuleType, job: Job) -> None:
    assert "none lost" in job.render(page)
    assert "2 lost" in job.render(page, read=5)


def test_shows_labels_that_an_earlier_run_made(page: ModuleType, job: Job) -> None:
    html = job.render(page, labelled=0, dead_lettered=0, skipped=3)
    assert "2 pictures labelled, 1 set aside, none lost" in html


def test_prints_an_aligned_table_and_where_the_page_is(
    page: ModuleType, job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.labels[1]["caption"] = "red \x1b[31m alert"
    job.render(page)
    printed = capsys.readouterr().out
    header, first, second = printed.strip().splitlines()[:3]
    column = header.index("caption")
    assert first[column:].startswith("cat face")
    assert second[column:].startswith("red")
    assert "\x1b" not in printed
    assert str(job.folder / "page.html") in printed


def test_stops_with_one_message_when_there_are_no_labels(page: ModuleType, job: Job) -> None:
    job.labels = []
    with pytest.raises(SystemExit, match="no labels in"):
        job.render(page)


def read_manifest(folder: str) -> list[dict[str, Any]]:
    rows = []
    for line in (EMOJI / folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            rows.append({"id": "malformed"})
    return rows


def test_sample_is_small() -> None:
    sizes = [path.stat().st_size for path in EMOJI.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(-(-size // BLOCK_BYTES) * BLOCK_BYTES for size in sizes) <= MAX_SAMPLE_BYTES


def test_every_training_row_has_its_picture_and_every_picture_its_row() -> None:
    rows = read_manifest("train")
    pictures = {str(path.relative_to(EMOJI / "train")) for path in (EMOJI / "train").rglob("*.png")}
    assert {row["image"] for row in rows} == pictures
    assert len({row["id"] for row in rows}) == len(rows)
    assert all(row["text"] and row["group"] for row in rows)


def test_training_never_saw_what_is_to_be_labelled() -> None:
    trained = {row["id"] for row in read_manifest("train")}
    names = {id_.partition("/")[2] for id_ in trained}
    rows = [row for row in read_manifest("to_label") if "twin_in_training" in row]
    assert not trained & {row["id"] for row in rows}
    assert all(row["twin_in_training"] is (row["id"].partition("/")[2] in names) for row in rows)
    assert {row["twin_in_training"] for row in rows} == {True, False}


def test_eight_rows_to_label_are_broken_each_in_its_own_way() -> None:
    rows = read_manifest("to_label")
    ids = [row["id"] for row in rows]
    broken = [row for row in rows if row["id"].startswith("broken/")]
    assert len(rows) == 89
    assert len(ids) - len(set(ids)) == 1
    assert ids.count("malformed") == 1
    assert [row["image"] for row in broken if not (EMOJI / "to_label" / row["image"]).exists()] == [
        "broken/no_such_file.png"
    ]
    assert len(broken) == 6


def test_licences_and_attribution_come_with_the_sample() -> None:
    attribution = (EMOJI / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for licence in (EMOJI / "LICENSES").iterdir():
        assert f"LICENSES/{licence.name}" in attribution
    for words in ("CC BY 4.0", "CC BY-SA 4.0", "Unicode", "84a48c2", "Changes made"):
        assert words in attribution


def test_sample_script_gives_the_same_files_for_the_same_input(tmp_path: Path) -> None:
    make_sample = load("make_sample")
    source = tmp_path / "source"
    shutil.copytree(EMOJI / "train", source)
    rows = read_manifest("train")
    whole = [
        row for row in rows if all((source / style / Path(row["image"]).name).exists() for style in make_sample.STYLES)
    ]
    write_lines(source / "manifest.jsonl", whole)
    outputs = [tmp_path / "one", tmp_path / "two"]
    for output in outputs:
        make_sample.make_sample(source, output)
    one, two = (
        {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} for out in outputs
    )
    assert one == two
