"""A folder of pictures, the name of a folder being the class of what lies in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice

from mmstream import files
from mmstream.errors import MmstreamError
from mmstream.interfaces import Row, Source, Split
from mmstream_io import inputs

SPLIT_ROWS = 10_000


class ImageFolder(Source):
    """Every picture below a folder is a row {"image": path, "category": folder}; so is a picture, or all of a pattern.

    `category` is the first folder on the way to the picture, as in Keras' `image_dataset_from_directory`; None for a
    picture that lies at the top. Files are told by their suffix, in any case; others, and hidden ones, are passed over.
    """

    suffixes = tuple(f".{suffix}" for suffix in inputs.PICTURES)
    files_are_records = True

    def splits(self, path: str) -> list[Split]:
        """One piece for each class, large ones in several.

        Raises:
            MmstreamError: there is no picture.
        """
        if not files.is_folder(path):
            count = len(inputs.find(path, self.suffixes, "image_folder"))
            return [Split(path, rows, "", first) for first, rows in _cut(count)]
        splits = []
        for top, count in sorted(Counter(_top(picture) for picture in self._pictures(path)).items()):
            folder = files.join(path, top) if top else path
            splits += [Split(folder, rows, top, first) for first, rows in _cut(count)]
        if not splits:
            raise MmstreamError(f"no picture lies in {path} (by suffix: {' '.join(self.suffixes)})")
        return splits

    def read(self, split: Split) -> Iterator[Row]:
        """The rows of a piece; the origin of each is its path below the input."""
        if split.origin and not files.is_folder(split.path):  # one picture of an input
            steps = split.origin.count("/") + 1  # the origin itself may not be as the name is
            found = iter(["/".join(split.path.split("/")[-steps:])])
        elif not files.is_folder(split.path):
            below = files.base(split.path).rstrip("/") + "/"
            found = (file.path.removeprefix(below) for file in inputs.find(split.path, self.suffixes, "image_folder"))
        elif split.origin:
            found = (f"{split.origin}/{path}" for path in self._pictures(split.path))
        else:
            found = (path for path in self._pictures(split.path) if not _top(path))
        for path in islice(found, split.first - 1, split.first - 1 + split.rows):
            try:
                path.encode("utf-8")
            except UnicodeEncodeError:
                raw = path.encode("utf-8", "surrogateescape")
                name = path.encode("utf-8", "backslashreplace").decode()
                yield Row(name, None, raw, ValueError("the file name is not valid UTF-8"))
                continue
            yield Row(path, {"image": path, "category": _top(path) or None})

    def _pictures(self, folder: str) -> Iterator[str]:
        return (path for path in inputs.signalled(files.list_files(folder)) if path.lower().endswith(self.suffixes))


def _cut(count: int) -> Iterator[tuple[int, int]]:
    """First row and number of rows of each piece."""
    return ((start + 1, min(SPLIT_ROWS, count - start)) for start in range(0, count, SPLIT_ROWS))


def _top(path: str) -> str:
    return path.split("/", 1)[0] if "/" in path else ""
