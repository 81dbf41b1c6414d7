"""What a page says of itself is believed only as far as it holds."""

from __future__ import annotations

import pytest
from mmstream_io.levels import check_lengths
from mmstream_io.pages import DATA, DATA_V2, DELTA_LENGTHS, DELTA_TEXTS, PLAIN, Page


def varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found, number = found + bytes([number & 127 | 128]), number >> 7
    return found + bytes([number])


def numbers(count: int, block: int = 128, mini_blocks: int = 4) -> bytes:
    """So many equal numbers, kept as differences: none takes up any bit."""
    blocks = -(-(count - 1) // block) if count else 0
    return b"".join(map(varint, (block, mini_blocks, count, 2))) + (b"\0" + bytes(mini_blocks)) * blocks


def page(encoding: int, values: int, kind: int = DATA, levels: tuple[int, int] = (0, 0)) -> Page:
    return Page(kind, encoding, values, 0, 0, 0, levels)


@pytest.mark.parametrize("count", [0, 1, 128, 129, 1000])
def test_pages_of_as_many_lengths_as_values_are_sound(count):
    check_lengths(page(DELTA_LENGTHS, count), numbers(count), 0, 0)
    check_lengths(page(DELTA_TEXTS, count), numbers(count) + numbers(count), 0, 0)
    level = (3).to_bytes(4, "little") + b"abc"
    check_lengths(page(DELTA_TEXTS, count), level + level + numbers(count) * 2, 1, 1)
    check_lengths(page(DELTA_TEXTS, count, DATA_V2, (2, 3)), b"abcde" + numbers(count) * 2, 1, 1)
    check_lengths(page(PLAIN, count), b"anything", 0, 0)


@pytest.mark.parametrize(
    "first", [numbers(1001), b"".join(map(varint, (128, 4, 1 << 40, 0))), numbers(1000) + numbers(1 << 20)]
)
def test_a_page_that_says_how_long_more_texts_are_than_it_holds_is_refused(first):
    with pytest.raises(ValueError, match="a page lists the lengths of"):
        check_lengths(page(DELTA_TEXTS, 1000), first + b"\2", 0, 0)


@pytest.mark.parametrize("content", [b"", b"\x80", numbers(1000)[:10], numbers(1000), varint(128) + varint(1 << 30)])
def test_a_page_that_is_cut_off_is_refused(content):
    with pytest.raises(ValueError, match=r"cut off|a page lists"):
        check_lengths(page(DELTA_TEXTS, 1000), content, 0, 0)


@pytest.mark.parametrize(("block", "mini_blocks"), [(0, 0), (0, 4), (128, 0), (1 << 40, 1 << 30)])
def test_blocks_that_cannot_be_are_refused(block, mini_blocks):
    with pytest.raises(ValueError, match="a page lists"):
        check_lengths(
            page(DELTA_LENGTHS, 1000), b"".join(map(varint, (block, mini_blocks, 1000, 0))) + bytes(100), 0, 0
        )
