"""Refuses flags that would have no effect, so that no request is ignored."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable

from mmstream.errors import UsageError


def refuse(
    flags: argparse.Namespace, add_flags: Callable[[argparse.ArgumentParser], None], names: Iterable[str], where: str
) -> None:
    """Refuse flags that are given a value other than their default.

    Args:
        flags: the flags of a command.
        add_flags: adds the command's flags to a parser.
        names: names of flags, such as "sink-option".
        where: where they have no effect, as the end of a message: "with --preview".

    Raises:
        UsageError: such a flag is given.
    """
    parser = argparse.ArgumentParser(add_help=False)
    add_flags(parser)
    for name in names:
        place = name.replace("-", "_")
        if getattr(flags, place) != parser.get_default(place):
            raise UsageError(f"--{name} has no effect {where}")


def sections_set(overrides: Iterable[str], sections: Iterable[str]) -> list[str]:
    """Those keys of `--set` that lie in the given sections of a config.

    >>> sections_set(["training.epochs=3", "split.test=0.2"], ["model", "training"])
    ['training.epochs']
    """
    keys = (text.partition("=")[0].strip() for text in overrides)
    return [key for key in keys if key.partition(".")[0] in sections]
