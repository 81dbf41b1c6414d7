"""Files that fields need besides their parameters, such as vocabularies; they are kept in the transform directory."""

from __future__ import annotations

from collections.abc import Mapping

from mmstream.interfaces import Field
from mmstream.storage import files

_FOLDER = "fields"


def assets_of(fields: Mapping[str, Field]) -> dict[str, bytes]:
    """The files that fields need, by path below the transform directory."""
    return {
        f"{_FOLDER}/{name}/{path}": data
        for name, field in sorted(fields.items())
        for path, data in sorted(field.assets().items())
    }


def open_assets(fields: Mapping[str, Field], transform: str) -> None:
    """Give fields the files that are kept for them; before the transform is fitted (""), they find them themselves."""
    for name, field in fields.items() if transform else ():
        folder = files.join(transform, _FOLDER, name)
        if type(field).open_assets is not Field.open_assets and files.exists(folder):
            field.open_assets({path: files.read_bytes(files.join(folder, path)) for path in files.list_files(folder)})
