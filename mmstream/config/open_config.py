"""Configs with open values, of which `mmstream tune` makes one config for each trial."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from mmstream.config.checks import Problem
from mmstream.config.loading import ConfigText, check_text, problems_of, read_text
from mmstream.config.open_values import Choice, Closed, OpenValue, close, malformed, variants
from mmstream.config.schema import Config
from mmstream.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class OpenConfig:
    """A config with open values, every candidate of which has been checked.

    Attributes:
        text: the file, read and overridden.
        open: the open values, also those inside candidates.
        variants: configs in which every candidate occurs at least once; the first holds all first candidates.
    """

    text: ConfigText
    open: tuple[OpenValue, ...]
    variants: tuple[Config, ...]

    def close(self, choose: Callable[[OpenValue], Choice]) -> Closed:
        """Choose a value for every open one."""
        return close(self.text.data, choose)

    def config(self, closed: Closed) -> Config:
        """Make the config of what was chosen.

        Raises:
            ConfigError: these choices do not fit together.
        """
        config, problems = check_text(self.text, closed)
        if problems or config is None:
            raise problems_of(self.text.path, problems)
        return config


def load_open_config(path: str, overrides: Sequence[str] = (), *, tiny: bool = False) -> OpenConfig:
    """Read a config file with open values, and check each of their candidates.

    Args:
        path: the YAML file.
        overrides: such as "training.epochs=3", or "model.width={any: [16, 32]}".
        tiny: apply the overrides of `loading.TINY` first.

    Raises:
        ConfigError: the file has problems, or no value is open; the message lists all problems.
    """
    text = read_text(path, overrides, tiny=tiny)
    if wrong := malformed(text.data, text.lines):
        raise problems_of(path, [*text.problems, *wrong])
    problems: list[Problem] = [*text.problems]
    configs: list[Config] = []
    found: dict[str, OpenValue] = {}
    for closed in variants(text.data):
        config, others = check_text(text, closed)
        problems += others
        found |= {one.path: one for one in closed.open}
        if config is not None:
            configs.append(config)
    if problems:
        raise problems_of(path, problems)
    if not found:
        raise ConfigError(
            f"no value of {path} is open, so there is nothing to search for; write {{any: [0.001, 0.003]}} or "
            "{between: [0.0001, 0.01], log: true} in place of a value in `model` or `training`, or run `mmstream train`"
        )
    return OpenConfig(text, tuple(found.values()), tuple(configs))
