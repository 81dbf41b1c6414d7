"""`mmstream init`: a first config for undescribed data, with the reason for each guess as a comment."""

from __future__ import annotations

from collections.abc import Sequence

from mmstream.errors import MmstreamError, choices
from mmstream.inputs.sources import source_for
from mmstream.starting_config.guess import Guess, StartingConfig
from mmstream.starting_config.sampling import take_sample


def starting_config(
    path: str, config_folder: str, targets: Sequence[str] = (), use: str = "", *, pretrained: bool = False
) -> StartingConfig:
    """Guess a commented config for an input; it passes `check` and decodes a sample of the rows.

    Args:
        path: file, folder or pattern.
        config_folder: where the config will be; the paths in it are relative to this folder.
        targets: columns to predict; none to guess them.
        use: the source that reads the input; "" for the one that its suffix implies.
        pretrained: whether encoders with pretrained weights read the inputs that they suit.

    Raises:
        MmstreamError: the input cannot be read, has no rows or readable columns, or a target cannot be predicted.
    """
    use = use or source_for(path)
    sample = take_sample(use, path)
    for name in targets:
        if name not in sample.columns and any(name in row for row in sample.rows):
            raise MmstreamError(f"--target: the column {name!r} has no value in any of {len(sample.rows):,} rows")
        if name not in sample.columns:
            raise MmstreamError(f"--target: the data has no column {name!r}. {choices(name, sample.columns)}")
    return Guess(use, path, config_folder, sample, targets, pretrained=pretrained).config()
