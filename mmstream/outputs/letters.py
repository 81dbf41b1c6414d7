"""Reading and writing files of dead letters."""

from __future__ import annotations

from collections.abc import Iterable

from mmstream.records.record import DeadLetter, origin_key


def dump_letters(letters: Iterable[DeadLetter]) -> bytes:
    """Write a dead-letter file: JSON lines, sorted by id, input and origin."""
    ordered = sorted(letters, key=lambda letter: (letter.id, letter.input, origin_key(letter.origin)))
    return "".join(f"{letter.to_json()}\n" for letter in ordered).encode()


def load_letters(data: bytes) -> list[DeadLetter]:
    """Read the dead letters of a file."""
    return [DeadLetter.from_json(line) for line in data.decode().split("\n") if line]
