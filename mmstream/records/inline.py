"""Media within a row as text: data URIs, and pictures in base64."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote

from mmstream.errors import MediaError, brief

_DATA_URI = re.compile(r"data:(?:(?:image|audio|video|application|text)/[^,/]{1,200}|;base64),", re.IGNORECASE)
_ENCODED = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR")
"""The first characters of a PNG, JPEG, GIF or WebP in base64."""
_NO_PATH = re.compile(r"[A-Za-z0-9+/]{64}")
"""No path begins with 64 characters of base64 and no dot among them."""


def is_inline(text: str) -> bool:
    """Return whether a text is itself the content of a media file, not its path.

    >>> is_inline("data:image/png;base64,iVBORw0KGgo="), is_inline("data/1.png")
    (True, False)
    """
    return bool(_DATA_URI.match(text)) or (text.startswith(_ENCODED) and bool(_NO_PATH.match(text)))


def decoded(text: str, max_bytes: int) -> bytes:
    """Decode a data URI or base64.

    Args:
        text: the text in the row.
        max_bytes: the limit; anything larger is refused before it is decoded.

    Raises:
        MediaError: there are more than `max_bytes`, or the text is not base64.
    """
    head = _DATA_URI.match(text)
    if head and not head[0].lower().endswith(";base64,"):
        raise MediaError(f"only base64 data URIs are read; this one begins with {brief(head[0])}")
    body = "".join((text[head.end() :] if head else text).split())
    body = (unquote(body) if "%" in body else body).rstrip("=")
    size = len(body) * 3 // 4
    if size > max_bytes:
        raise MediaError(f"{size:,} bytes in base64 are more than max_bytes = {max_bytes:,}")
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MediaError(f"the text ({len(text):,} characters) is not base64: {error}") from error
