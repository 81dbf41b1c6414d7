"""A folder of pictures; the names of its folders are the classes of the pictures in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice

from mmstream.errors import MmstreamError
from mmstream.inputs.listing import Listing, Passed, why_not_read
from mmstream.interfaces import Row, Source, Split
from mmstream.storage import files, patterns
from mmstream_io import inputs, pictures
from mmstream_io.hive import folder_columns

SPLIT_ROWS = 10_000
_WHOLE = 1
"""Start of a split whose rows are counted over the whole input, not within one class."""


class ImageFolder(Source):
    """Reads the pictures below a folder, or matches of a pattern: each is a row {"image": path, "category": folder}.

    `category` is the first folder on the path of the picture, as in Keras' `image_dataset_from_directory`; None for a
    picture at the top. Folders within it are `category_2`, `category_3` and so on; a folder named "key=value" is a
    column of its own instead. Files are recognised by their suffix, in upper or lower case; a local one with another
    suffix, or none, is a picture if it begins like one. Others, and hidden ones, are passed over. A link to a folder is
    followed, once, if it leads into one of the roots.
    """

    suffixes = pictures.SUFFIXES
    files_are_records = True

    def reads(self, path: str) -> bool:
        """Whether a file is a picture, by its suffix or else its first bytes."""
        return pictures.holds_picture(path)

    def splits(self, path: str) -> list[Split]:
        """One piece per class, or several for a large one.

        Raises:
            MmstreamError: there is no picture.
        """
        if not files.is_folder(path):
            count = len(inputs.find(self, path, "image_folder"))
            return [Split(path, rows, "", first) for first, rows in _cut(count)]
        passed = Passed()
        listing = Listing(path, self.roots, passed)
        counts = Counter(_top(picture) for picture in self._pictures(path, listing, passed))
        self.passed_over = passed.told()
        if not counts:
            raise MmstreamError(
                f"there is no picture in {path} (by suffix: {' '.join(self.suffixes)}){inputs.but_for(passed)}"
            )
        if listing.has_links:  # only a listing of the whole input shows which of them are followed
            return [Split(path, rows, "", first, _WHOLE) for first, rows in _cut(counts.total())]
        splits = []
        for top, count in sorted(counts.items()):
            folder = files.join(path, top) if top else path
            splits += [Split(folder, rows, top, first) for first, rows in _cut(count)]
        return splits

    def read(self, split: Split) -> Iterator[Row]:
        """The rows of a piece; the origin of each is its path below the input."""
        if split.origin and not files.is_folder(split.path):  # one picture of an input
            steps = split.origin.count("/") + 1  # the origin itself may differ from the name
            paths = iter(["/".join(split.path.split("/")[-steps:])])
        elif not files.is_folder(split.path):
            below = patterns.input_folder(split.path).rstrip("/") + "/"
            paths = (file.path.removeprefix(below) for file in inputs.find(self, split.path, "image_folder"))
        elif split.start == _WHOLE:
            paths = self._pictures(split.path, Listing(split.path, self.roots))
        elif split.origin:
            paths = (f"{split.origin}/{path}" for path in self._listed(split.path))
        else:
            paths = (path for path in self._listed(split.path) if not _top(path))
        for path in islice(paths, split.first - 1, split.first - 1 + split.rows):
            try:
                path.encode("utf-8")
            except UnicodeEncodeError:
                raw = path.encode("utf-8", "surrogateescape")
                name = path.encode("utf-8", "backslashreplace").decode()
                yield Row(name, None, raw, ValueError("the file name is not valid UTF-8"))
                continue
            yield Row(path, {**_columns_of(path), "image": path})

    def _listed(self, folder: str) -> Iterator[str]:
        return self._pictures(folder, Listing(folder))

    def _pictures(self, folder: str, listing: Listing, passed: Passed | None = None) -> Iterator[str]:
        """The pictures among the files of a listing; others are counted."""
        for path in inputs.signalled(listing):
            if self.reads(files.join(folder, path)):
                yield path
            elif passed:
                passed.add(why_not_read(folder, path), path)


def _cut(count: int) -> Iterator[tuple[int, int]]:
    """The first row and the number of rows of each piece."""
    return ((start + 1, min(SPLIT_ROWS, count - start)) for start in range(0, count, SPLIT_ROWS))


def _columns_of(path: str) -> dict[str, str | None]:
    """The columns of a picture, from the names of its folders."""
    in_names = folder_columns(path)
    names = [folder for folder in path.split("/")[:-1] if folder.find("=") < 1]
    deeper = {f"category_{level}": name for level, name in enumerate(names[1:], 2)}
    return {**in_names, "category": names[0] if names else None, **deeper}


def _top(path: str) -> str:
    return path.split("/", 1)[0] if "/" in path else ""
