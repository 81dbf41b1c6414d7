"""The values that flags take: each function turns the text of a flag into its value, or raises ArgumentTypeError."""

from __future__ import annotations

import argparse


def count(text: str) -> int:
    """A number from 1 on."""
    return _at_least(1, text)


def count_or_none(text: str) -> int:
    """A number from 0 on."""
    return _at_least(0, text)


def seconds(text: str) -> float:
    """A time in seconds, more than 0."""
    return _time(text, "seconds")


def minutes(text: str) -> float:
    """A time in minutes, more than 0."""
    return _time(text, "minutes")


def seed(text: str) -> int:
    """A seed of a random number generator, from 0 to 2³¹ - 1."""
    number = int(text)
    if not 0 <= number < 2**31:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to {2**31 - 1}; found {text}")
    return number


def _at_least(least: int, text: str) -> int:
    number = int(text)
    if number < least:
        raise argparse.ArgumentTypeError(f"expected {least} or more; found {text}")
    return number


def _time(text: str, unit: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected more than 0 {unit}; found {text}")
    return number
