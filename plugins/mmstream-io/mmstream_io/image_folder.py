"""A folder of pictures, the name of a folder being the class of what lies in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice

from mmstream import files
from mmstream.errors import MmstreamError
from mmstream.interfaces import Row, Source, Split

SPLIT_ROWS = 10_000
_SUFFIXES = frozenset(
    f".{name}"
    for names in (
        ("jpg", "jpeg", "jpe", "jfif", "png", "apng", "gif", "webp", "avif", "avifs", "bmp", "dib", "tif", "tiff"),
        ("jp2", "j2k", "jpx", "icns", "ico", "pbm", "pgm", "ppm", "pnm", "pfm", "pcx", "qoi", "sgi", "tga", "xbm"),
    )
    for name in names
)


class ImageFolder(Source):
    """Every picture below a folder is a row {"image": path, "category": folder}.

    `category` is the first folder on the way to the picture, as in Keras' `image_dataset_from_directory`; None for a
    picture that lies at the top. Files are told by their suffix, in any case; others, and hidden ones, are passed over.
    """

    reads_folders = True

    def splits(self, path: str) -> list[Split]:
        """One piece for each class, large ones in several.

        Raises:
            MmstreamError: it is not a folder, or no picture lies in it.
        """
        if not files.is_folder(path):
            raise MmstreamError(f"{path} is not a folder; the source 'image_folder' reads one")
        splits = []
        for top, count in sorted(Counter(_top(picture) for picture in _pictures(path)).items()):
            folder = files.join(path, top) if top else path
            for start in range(0, count, SPLIT_ROWS):
                rows = min(SPLIT_ROWS, count - start)
                splits.append(Split(folder, rows, start + 1, len(top), 0))
        if not splits:
            raise MmstreamError(f"no picture lies in {path} (by suffix: {' '.join(sorted(_SUFFIXES))})")
        return splits

    def read(self, split: Split) -> Iterator[Row]:
        """The rows of a piece; the origin of each is its path below the input."""
        top = split.path[len(split.path) - split.start :] if split.start else ""
        found = _pictures(split.path) if top else (path for path in _pictures(split.path) if not _top(path))
        for path in islice(found, split.first - 1, split.first - 1 + split.rows):
            origin = f"{top}/{path}" if top else path
            try:
                origin.encode("utf-8")
            except UnicodeEncodeError:
                raw = origin.encode("utf-8", "surrogateescape")
                name = origin.encode("utf-8", "backslashreplace").decode()
                yield Row(name, None, raw, ValueError("the file name is not valid UTF-8"))
                continue
            yield Row(origin, {"image": origin, "category": top or None})


def _pictures(folder: str) -> Iterator[str]:
    return (path for path in files.list_files(folder) if _suffix(path) in _SUFFIXES)


def _suffix(path: str) -> str:
    name = files.name(path)
    return name[name.rfind(".") :].lower() if "." in name else ""


def _top(path: str) -> str:
    return path.split("/", 1)[0] if "/" in path else ""
