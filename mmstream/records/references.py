"""References to media as rows contain them: paths and `file://` URIs; and how messages show them."""

from __future__ import annotations

from urllib.parse import unquote

from mmstream.errors import MediaError
from mmstream.records.spool import LARGE_BYTES
from mmstream.storage import files

LONGEST_PATH = LARGE_BYTES // 4  # no character has more than four bytes
_LONGEST_SHOWN = 200
FILE_SCHEME = "file"
_THIS_MACHINE = ("", "localhost")
BYTES_AND_PATH = frozenset(("bytes", "path"))
"""Keys of a picture or an audio clip in Hugging Face's `datasets`."""


def path_in(reference: str) -> str:
    """Return the path of a file:// URI of this machine; any other reference unchanged."""
    if files.scheme(reference).lower() != FILE_SCHEME:
        return reference
    host, slash, path = reference[len(f"{FILE_SCHEME}://") :].partition("/")
    return unquote(f"{slash}{path}", errors="surrogateescape") if host.lower() in _THIS_MACHINE else reference


def no_path(size: int) -> MediaError:
    """Make the error for a text of this many bytes where a path is expected."""
    return MediaError(
        f"text of {size:,} bytes is not the path of a file; to give the file's bytes, write data:image/png;base64,…"
    )


def shown(path: str) -> str:
    """Return the beginning of a path, for a message."""
    return f"{path!r:.{_LONGEST_SHOWN}}"
