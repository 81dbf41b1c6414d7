"""The settings that examples were made with, compared with those of a config that is to train on them.

Settings that decide which values are in which split must be the same. Where the records were and how many were read can
no longer change, so these settings are taken from the examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mmstream import terminal
from mmstream.config.schema import Config, parse_config
from mmstream.errors import MmstreamError, brief, listed
from mmstream.outputs import ownership
from mmstream.preprocessing.settings import settings_of

_TAKEN = ("source.path", "source.roots", "source.limit", "golden")
"""Keys that say where records were, how many were read, and how many are golden."""


def made_with(config: Config, *, reads_source: bool) -> dict[str, Any]:
    """The settings of a config that `mmstream preprocess` uses, for preprocess.json.

    Args:
        config: the config of the examples.
        reads_source: whether its `source` was read; a user's own pipeline supplies the records itself.
    """
    source = {"source": config.source.model_dump(mode="json")} if reads_source else {}
    return {"split": config.split.model_dump(mode="json"), "golden": config.golden, **source}


def read_about_examples(examples: str) -> dict[str, Any]:
    """The contents of preprocess.json.

    Raises:
        MmstreamError: it is not there, or is damaged.
    """
    about = ownership.read_summary(examples, "preprocess")
    if not about:
        raise MmstreamError(f"{examples} is not a finished output of `mmstream preprocess`")
    if "transform" in about and about["transform"] != ownership.transform_files(examples):
        raise MmstreamError(
            f"transform/ in {examples} is not what preprocess wrote; run `mmstream preprocess` again, which rewrites it"
        )
    return about


def check_fields(config: Config, about: Mapping[str, Any], examples: str) -> None:
    """Check that the fields of a config are those that the examples were made with.

    Args:
        config: the config.
        about: the result of `read_about_examples`.
        examples: the folder of the examples.

    Raises:
        MmstreamError: they are not.
    """
    fields = settings_of(config.fields)
    changed = sorted(name for name in {*fields, *about["fields"]} if fields.get(name) != about["fields"].get(name))
    if changed:
        raise MmstreamError(
            f"the examples in {examples} were made with different settings for the fields {listed(changed)}; "
            "run `mmstream preprocess` again with this config"
        )


def fitted_to(config: Config, about: Mapping[str, Any], examples: str) -> Config:
    """Copy from the examples into a config the settings that only preprocess decides; reports the changes.

    Args:
        config: the config as it was read.
        about: the result of `read_about_examples`.
        examples: the folder of the examples.

    Raises:
        MmstreamError: the examples were made with other fields, another split, or rows read in another way.
    """
    check_fields(config, about, examples)
    recorded = _recorded(about, examples)
    if not recorded:
        terminal.warn(f"{examples} does not say which split it was made with; the one in the config is assumed")
        return config
    then, now = _flat(recorded), _flat(made_with(config, reads_source="source" in recorded))
    differ = [key for key in {**now, **then} if now.get(key) != then.get(key)]
    taken = [key for key in differ if key in _TAKEN]
    if refused := [key for key in differ if key not in _TAKEN]:
        raise MmstreamError(
            f"the examples in {examples} were made with another config: {_listed(refused, then)}; run `mmstream "
            "preprocess` again with this config, or change the config"
        )
    if not taken:
        return config
    terminal.say(f"taken from the examples instead of the config: {_listed(taken, then)}")
    source = {key.removeprefix("source."): then[key] for key in taken if key != "golden"}
    return config.model_copy(
        update={"golden": then["golden"], "source": config.source.model_copy(update=source)},
    )


def _recorded(about: Mapping[str, Any], examples: str) -> dict[str, Any]:
    """The settings that examples were made with (from job.json for older versions); {} if unknown."""
    if "made_with" in about:
        return dict(about["made_with"])
    job = ownership.read_about(examples, "preprocess")
    return made_with(parse_config(job["config"]), reads_source=True) if job else {}


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten sections: {"split.test": value, …}."""
    sections = {key: value for key, value in settings.items() if isinstance(value, Mapping)}
    inner = {f"{key}.{name}": value for key, section in sections.items() for name, value in section.items()}
    return {**{key: value for key, value in settings.items() if key not in sections}, **inner}


def _listed(keys: Iterable[str], values: Mapping[str, Any]) -> str:
    """Keys and their values, for a message."""
    return listed(f"{key} is {'none' if values.get(key) is None else brief(values[key])}" for key in keys)
