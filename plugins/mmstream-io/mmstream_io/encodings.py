"""Determine the encoding of a text that is not UTF-8, as far as its bytes reveal it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from charset_normalizer import from_bytes

_WESTERN = ("cp1252", "cp1250", "cp1254", "cp1257")
_JAPANESE, _KOREAN = ("cp932", "euc_jp"), "cp949"
_OTHERS = ("cp1251", "koi8_r", "cp1253", "cp1255", "cp1256", "cp874")
_ENCODINGS = (*_WESTERN, *_OTHERS, *_JAPANESE, "gb18030", "big5", _KOREAN)
"""Encodings that are tried; if several decode a text to the same characters, the first is taken."""
_ALPHABETS = (
    *(
        "äöüß",
        "àâæçéèêëîïôœùûüÿ",
        "áéíñóúü",
        "ãõáàâçéêíóôúü",
        "àèéìíîòóùú",
        "éèëïóöüáíú",
        "åäöé",
        "æøåéóòôü",
        "áéíóúýþæðö",
    ),
    *("äöõüšž", "ąćęłńóśźż", "áäčďéěíĺľňóôŕřšťúůýž", "áéíóöőúüű", "ăâîşţșț", "čćđšž", "çğıiöşüâîû"),
    *("ąčęėįšųūž", "āčēģīķļņšūž"),
)
"""Letters other than a to z in languages that are written in the Latin script."""
_LINES = 2000
"""The most lines that are examined."""
_BYTES = 64 * 1024 * 1024
"""The most bytes that are searched for those lines."""
_LINE_BYTES = 64 * 1024
_ABOUT = 16
_SOUND, _NEAR, _CLEAR = 0.98, 0.05, 0.2
"""An encoding must decode at least the first number's share of the lines that the best one decodes. Results whose
disorder differs by no more than the second number are equally good, unless their coherence with a language differs by
at least the third."""
_MIXED = 0.1
"""A result is worse if its share of letters inside words of another script is greater by more than this."""
_IN_A_LATIN_WORD = re.compile(r"(?<=[A-Za-z])[^\W\d_\u0000-\u024f]|[^\W\d_\u0000-\u024f](?=[A-Za-z])")
_BEFORE_A_DIGIT = re.compile(r"[^\W\d_\u0000-\u007f](?=[0-9])")
_HIRAGANA, _KANA, _HALF_WIDTH = ("\u3041", "\u309f"), ("\u3041", "\u30ff"), ("\uff61", "\uff9f")
_HANGUL, _LATIN_END = ("\uac00", "\ud7a3"), "\u024f"


class Told(NamedTuple):
    """What the bytes of a text reveal about its encoding.

    Attributes:
        encoding: of the bytes; "" if it cannot be determined.
        likely: encodings that it may be, the likeliest first.
        example: a line as `encoding` reads it.
    """

    encoding: str
    likely: tuple[str, ...]
    example: str


def encoding_of_files(files: Iterable[BinaryIO]) -> Told | None:
    """Determine the encoding of some texts; None if all is plain ASCII, or most of the other lines are UTF-8.

    Args:
        files: opened in binary, one after the other.
    """
    beyond: list[bytes] = []
    left = _BYTES
    for file in files:
        while left > 0 and len(beyond) < _LINES and (line := file.readline(_LINE_BYTES)):
            left -= len(line)
            if len(line) < _LINE_BYTES and not line.isascii():
                beyond.append(line)
    broken = [line for line in beyond if not _reads(line, "utf-8")]
    return encoding_of(broken) if 2 * len(broken) > len(beyond) else None


def encoding_of(lines: Sequence[bytes]) -> Told:
    """Determine the encoding of lines that are neither plain ASCII nor UTF-8.

    Args:
        lines: of a text.
    """
    lines = lines[:_LINES]
    counts = {encoding: sum(_reads(line, encoding) for line in lines) for encoding in _ENCODINGS}
    most = max(counts.values())
    able = [encoding for encoding in _ENCODINGS if counts[encoding] and counts[encoding] >= _SOUND * most]
    sound = [line for line in lines if all(_reads(line, encoding) for encoding in able)]
    text = b"\n".join(sound)
    matches = list(from_bytes(text, cp_isolation=able, enable_fallback=False)) if sound else []
    if not matches:
        return Told("", tuple(able), "")
    disorder = {match.encoding: match.chaos for match in matches}
    language = {match.encoding: match.coherence for match in matches}
    readings: dict[str, str] = {}
    for encoding in able:  # the library rates only one of those that decode the text alike
        reading = text.decode(encoding)
        same = next((match for match in matches if str(match) == reading), None)
        if same is not None and reading not in readings.values():
            readings[encoding] = reading
            disorder[encoding], language[encoding] = same.chaos, same.coherence
    least = min(disorder[encoding] for encoding in readings)
    near = [encoding for encoding in readings if disorder[encoding] <= least + _NEAR]
    mixed = {encoding: _mixed(readings[encoding]) for encoding in near}
    near = [encoding for encoding in near if mixed[encoding] <= min(mixed.values()) + _MIXED]
    near = [encoding for encoding in near if _is_like_its_language(encoding, readings[encoding])] or near
    near.sort(key=lambda encoding: -language[encoding])
    best = _best(near, readings, language)
    likely = tuple(dict.fromkeys([*([best] if best else []), *near]))
    return Told(best, likely, _example(sound[0].decode(best)) if best else "")


def _best(near: Sequence[str], readings: dict[str, str], language: dict[str, float]) -> str:
    """The best of encodings that decode a text about equally well; "" if none stands out."""
    if len(near) == 1:
        return near[0]
    if kana := [encoding for encoding in near if _is_japanese(readings[encoding])]:
        return kana[0] if len(kana) == 1 else ""
    if all(_is_latin(readings[encoding]) for encoding in near):
        return min(near, key=lambda encoding: (_strange(readings[encoding]), _ENCODINGS.index(encoding)))
    first, second = near[:2]
    return first if language[first] >= language[second] + _CLEAR else ""


def _example(line: str) -> str:
    """The part of a line around its first character that is not plain ASCII."""
    place = next(place for place, sign in enumerate(line) if not sign.isascii())
    return line[max(place - _ABOUT, 0) : place + _ABOUT].strip()


def _reads(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _letters(text: str) -> Iterator[str]:
    return (sign for sign in text.lower() if not sign.isascii() and sign.isalpha())


def _mixed(text: str) -> float:
    """The share of non-ASCII letters that are not Latin, but stand beside a Latin letter in a word."""
    letters = sum(1 for _ in _letters(text))
    return len(_IN_A_LATIN_WORD.findall(text)) / letters if letters else 0.0


def _is_latin(text: str) -> bool:
    return all(letter <= _LATIN_END for letter in _letters(text))


def _is_japanese(text: str) -> bool:
    """Whether over a fifth of a text is hiragana and little of it half-width: a wrong encoding never gives that."""
    return _share(text, _HIRAGANA) > 0.2 > _share(text, _HALF_WIDTH)


def _is_like_its_language(encoding: str, text: str) -> bool:
    """Whether a text has the letters of its encoding's language: Japanese has kana, Korean hardly any but hangul."""
    if encoding in _JAPANESE:
        return _share(text, _KANA) > 0.1
    return encoding != _KOREAN or _share(text, _HANGUL) > 0.9


def _share(text: str, span: tuple[str, str]) -> float:
    """The share of a text's letters that lie in a range of Unicode."""
    letters = list(_letters(text))
    return sum(span[0] <= letter <= span[1] for letter in letters) / max(len(letters), 1)


def _strange(text: str) -> int:
    """Count the letters that are foreign to the language that has most of them; letters before a digit count, too."""
    letters = list(_letters(text))
    return min(sum(letter not in alphabet for letter in letters) for alphabet in _ALPHABETS) + len(
        _BEFORE_A_DIGIT.findall(text)
    )
