"""A batch holds what was decoded of its records, and not what was read."""

from __future__ import annotations

import errno
import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image as Pillow

from mmstream.config.schema import FieldConfig, SplitConfig
from mmstream.errors import MmstreamError
from mmstream.outputs.example_parts import examples_of
from mmstream.preprocessing.decoding import digests_of
from mmstream.preprocessing.preprocessor import Preprocessor
from mmstream.records.media import Media
from mmstream.records.record import DeadLetter, Record
from mmstream.runtime.concurrency import ThreadPool
from mmstream.trained_model.labelling import label_batch

COUNT = 20
PICTURE = {"use": "image", "size": [8, 8], "column": "image"}


class Counted(bytes):
    """Bytes that are counted for as long as they are held."""

    held = 0

    def __init__(self, *_: object) -> None:
        Counted.held += 1

    def __del__(self) -> None:
        Counted.held -= 1


class CountingMedia(Media):
    """Notes how many files are held whenever one is read."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.held: list[int] = []

    def read(self, reference, max_bytes):
        self.held.append(Counted.held)
        return Counted(super().read(reference, max_bytes))


@pytest.fixture
def records(tmp_path):
    for number in range(COUNT):
        file = io.BytesIO()
        Pillow.new("RGB", (8, 8), (number, 0, 0)).save(file, "PNG")
        (tmp_path / f"{number}.png").write_bytes(file.getvalue())
    return [Record(str(number), f"{number}.png", {"image": f"{number}.png"}) for number in range(COUNT)]


@pytest.fixture
def preprocessor():
    return Preprocessor({"image": FieldConfig.model_validate(PICTURE)})


def model_of(preprocessor):
    """A model that has nothing but a preprocessor."""
    return SimpleNamespace(
        preprocessor=preprocessor,
        batch=COUNT,
        fingerprint="f",
        heads={"red": None},
        prepare=lambda: None,
        predict=lambda tensors: {"red": tensors["image"]["pixels"][:, 0, 0, 0].astype(np.float32)},
        rows=lambda outputs, count: [{"red": float(red)} for red in outputs["red"][:count]],
    )


def test_labelling_a_batch_holds_one_file_at_a_time(records, preprocessor, tmp_path):
    media = CountingMedia(str(tmp_path))
    results = label_batch(records, model_of(preprocessor), media)
    assert [result["red"] for _, result in results] == list(range(COUNT))
    assert len(media.held) == COUNT
    assert max(media.held) <= 1


def test_preprocessing_a_batch_holds_one_file_at_a_time(records, preprocessor, tmp_path):
    media = CountingMedia(str(tmp_path))
    results = examples_of(records, preprocessor, SplitConfig(), media, "f")
    assert not any(isinstance(result, DeadLetter) for _, result in results)
    assert len(media.held) == COUNT
    assert max(media.held) <= 1


def test_want_of_descriptors_ends_a_batch_and_no_record_gets_a_dead_letter(
    records, preprocessor, tmp_path, monkeypatch
):
    media = Media(str(tmp_path), sleep=lambda seconds: None)

    def refuse(*arguments):
        raise OSError(errno.EMFILE, "Too many open files")

    for name in ("mmstream.records.media.Media._contents", "mmstream_image.field.Image.decode"):
        with monkeypatch.context() as patch:
            patch.setattr(name, refuse)
            with pytest.raises(MmstreamError, match=r"too many open files while reading"):
                label_batch(records, model_of(preprocessor), media)
            with pytest.raises(MmstreamError, match=r"too many open files while reading"):
                examples_of(records, preprocessor, SplitConfig(), media, "f")
    monkeypatch.setattr("mmstream.records.media.Media._size_and_time", refuse)
    preprocessor = Preprocessor({"image": FieldConfig.model_validate(PICTURE)}, resume="metadata")
    with ThreadPool(2) as pool, pytest.raises(MmstreamError, match=r"too many open files while reading"):
        list(digests_of(records, preprocessor, media, pool))
