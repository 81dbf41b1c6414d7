"""Makes `artefacts.tar.xz`: examples, models and outputs of labels, by the code as it is.

`tests/jobs/test_made_before.py` proves that later code reads them, goes on with them, and gives the same labels.

The archive that is committed was made with commit COMMIT. It is made anew only where a change of formats is wanted and
announced: `git worktree add ../before COMMIT`, there `make install`, and `.venv/bin/python tests/made_before/make.py`.

It holds, below one folder (PLACE, a path that is nobody's: outputs keep the paths of their inputs):

    data/         two manifests; their pictures are those of examples/emoji, under its licences, and not packed
    config.yaml   of the examples, and of the first of the models
    examples/     what `mmstream preprocess` made
    models/       one for each of CHANGES, which between them hold nearly every component that comes with mmstream;
                  `interrupted`, whose training was killed after its first epoch
    labels/       what each model made of the second manifest; `interrupted` was killed while it committed a part
    metrics/      what `mmstream evaluate` said of each model
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

from planting import KILL, plant  # noqa: E402
from small_road import EMOJI, emoji_rows, run, write_manifest  # noqa: E402

ARCHIVE = HERE / "artefacts.tar.xz"
COMMIT = "3a923f2"
PLACE = Path("/tmp/made_before")
CONFIG = """
source: {use: jsonl, path: data/train.jsonl, id: id}
split: {column: split}
fields:
  image:    {use: image, size: [16, 16]}
  text:     {use: text, length: 8}
  keywords: {use: tags, min_count: 2}
  group:    {use: category}
  style:    {use: category}
  letters:  {use: number}
  counts:   {use: number, columns: [words, tags], scale: minmax}
model:
  width: 8
  encoders: {image: {use: cnn, filters: [4, 8]}, text: {use: gru, units: 4}}
  fusion: {use: attention}
  heads:
    keywords: {use: tagging, reads: image}
    group:    {use: classification}
    letters:  {use: regression, weight: 0.5}
    caption:  {use: caption, target: text, reads: image, units: 8, match: image, candidates: 2}
  objectives:
    align:   {use: contrastive, fields: [image, text]}
    natural: {use: adversarial_caption, head: caption, target: text, field: image, units: 4, hidden: [4]}
    absent:  {use: adversarial, fields: [image, text], hidden: 4, discriminator: [4]}
  impute: absent
golden: 2
training: {epochs: 2, batch_size: 8, seed: 1}
"""
CHANGES = {
    "attention": (),
    "cross_attention": (
        "model.encoders={image: {use: resnet, stem: small, filters: 2}, "
        "text: {use: transformer, units: 8, layers: 1, heads: 2}, style: {use: embedding, units: 4}}",
        "model.fusion={use: cross_attention, heads: 2}",
        "model.heads={group: {use: classification, reads: [image, text]}, counts: {use: regression}, "
        "caption: {use: caption, target: text, reads: image, units: 8}}",
        "model.objectives={pairs: {use: matching, fields: [image, text]}}",
        "model.impute=null",
        "training.schedule=cosine",
    ),
    "gated": (
        "model.encoders={image: {use: vit, patch: 8, units: 8, layers: 1, heads: 2}, "
        "text: {use: bag_of_words, units: 4}}",
        "model.fusion={use: gated}",
        "model.heads={keywords: {use: tagging}, letters: {use: regression, reads: text}}",
        "model.objectives={pairs: {use: sigmoid_contrastive, fields: [image, text]}}",
        "model.impute=null",
        "training.weighting=uncertainty",
        "training.modality_dropout=0.2",
    ),
    "concat": (
        "model.encoders={style: {use: embedding, units: 4}, keywords: {use: bag_of_tags, units: 4}, "
        "counts: {use: mlp, units: 4}}",
        "model.fusion={use: concat}",
        "model.heads={group: {use: classification}, letters: {use: regression}}",
        "model.objectives={}",
        "model.impute=null",
    ),
}
"""By model, what it has other than the config."""
SINKS = {"gated": "jsonl", "concat": "csv"}
"""By model, the format of its labels where it is not Parquet."""
PARTS = 4
BROKEN = ("broken.png", "mended_later.png")
STOP_AFTER_AN_EPOCH = """
def plant(module):
    import os, signal
    on_epoch_end = module.Checkpoint.on_epoch_end

    def ending(self, epoch, logs=None):
        on_epoch_end(self, epoch, logs)
        os.kill(os.getpid(), signal.SIGKILL)

    module.Checkpoint.on_epoch_end = ending
"""


def rows(first: int) -> list[dict[str, Any]]:
    """Every other row of some places of the committed sample, with splits and numbers; of some a field is absent."""
    sample = emoji_rows(1600)
    chosen = [sample[place] for start in range(first, len(sample), 160) for place in range(start, start + 8, 2)]
    for number, row in enumerate(chosen):
        row["split"] = ("train", "train", "train", "validation", "test")[number % 5]
        row["letters"], row["words"], row["tags"] = len(row["text"]), len(row["text"].split()), len(row["keywords"])
        for name in ("image", "text", "keywords", "letters")[number % 7 : number % 7 + 1]:
            if number % 3 == 0:
                row[name] = None
    return chosen


def settings(model: str) -> list[str]:
    """The flags of a model's config."""
    return [flag for change in CHANGES[model] for flag in ("--set", change)]


def unpack_pictures(data: Path) -> None:
    """Put the pictures of the manifests in a folder where they name them; two of them are broken."""
    for path in data.glob("*.jsonl"):
        for row in map(json.loads, path.read_text().splitlines()):
            source = EMOJI / "train" / (row["image"] or "")
            if source.is_file():
                (data / row["image"]).parent.mkdir(exist_ok=True)
                shutil.copyfile(source, data / row["image"])
    for name in BROKEN:
        (data / name).write_bytes(b"no picture")


def make() -> None:
    """Everything that the archive holds, in the working directory."""
    to_label = rows(1)[:30]
    to_label[3]["image"], to_label[11]["image"] = BROKEN
    write_manifest(Path("data/train.jsonl"), rows(0))
    write_manifest(Path("data/to_label.jsonl"), [*to_label, to_label[5]])
    unpack_pictures(Path("data"))
    Path("config.yaml").write_text(CONFIG)
    _command("preprocess", "config.yaml", "--output", "examples")
    for model in CHANGES:
        _command("train", "config.yaml", *settings(model), "--examples", "examples", "--output", f"models/{model}")
        _command("evaluate", f"models/{model}", "--examples", "examples")
        Path("metrics").mkdir(exist_ok=True)
        shutil.move(f"models/{model}/evaluation/test/metrics.json", f"metrics/{model}.json")
        _label(f"models/{model}", f"labels/{model}", "--sink", SINKS.get(model, "parquet"))
    folder = Path("planted").resolve()
    killed = plant(folder / "train", "mmstream.training.checkpoint", STOP_AFTER_AN_EPOCH)
    arguments = ["train", "config.yaml", *settings("concat"), "--examples", "examples"]
    main = f"from mmstream.cli import main; main({[*arguments, '--output', 'models/interrupted']})"
    _killed([sys.executable, "-c", main], killed)
    _plan("labels/interrupted")
    killed = plant(
        folder / "label",
        "mmstream.storage.files",
        KILL.format(point="labels/part-00002.parquet", before=False),
    )
    arguments = ["models/attention", "--input", "data/to_label.jsonl", "--output", "labels/interrupted"]
    _killed([sys.executable, "-m", "beam_jobs.label", *arguments, "--threads", "1"], killed)


def pack() -> None:
    """The archive: the same bytes for the same files."""
    with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
        for path in filter(_is_packed, sorted(Path().rglob("*"))):
            about = tarfile.TarInfo(str(path))
            about.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(about, file)


def _is_packed(path: Path) -> bool:
    """All is but pictures, reports, what names the machine, and what a training that is over has no use for."""
    if not path.is_file() or {"planted", "logs", "evaluation", ".lock"} & {*path.parts}:
        return False
    if path.parts[0] == "data":
        return path.suffix == ".jsonl"
    return path.parent.name != "training" or path.name == "key" or path.parts[1] == "interrupted"


def _plan(output: str) -> None:
    """Cut a new output into several parts, so few as its records are."""
    from mmstream.outputs import ownership, parts

    ownership.open_output(output, "label", PARTS * parts.RECORDS_PER_PART)


def _label(model: str, output: str, *more: str) -> None:
    _plan(output)
    _command("label", model, "--input", "data/to_label.jsonl", "--output", output, *more)


def _command(*arguments: str) -> None:
    if run(*arguments):
        raise SystemExit(f"mmstream {' '.join(arguments)} failed")


def _killed(command: list[str], environment: dict[str, str]) -> None:
    if subprocess.run(command, env=environment, check=False).returncode != -signal.SIGKILL:
        raise SystemExit(f"{' '.join(command)} was not killed")


if __name__ == "__main__":
    PLACE.mkdir(exist_ok=True)  # one that was interrupted goes on
    os.chdir(PLACE)
    try:
        make()
        pack()
    finally:
        os.chdir("/")
        if "--keep" not in sys.argv:
            shutil.rmtree(PLACE)
