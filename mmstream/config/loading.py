"""Reading a config file: YAML 1.2 with line numbers, overrides, and one list of all problems."""

from __future__ import annotations

import contextlib
import copy
import inspect
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from mmstream.config.checks import STAND_IN, Problem, check_components, check_wiring, problem_at
from mmstream.config.checks import warnings as warnings
from mmstream.config.schema import Config
from mmstream.config.yaml_lines import Document, InvalidYamlError, read_yaml
from mmstream.errors import ConfigError, choices, describe
from mmstream.plugins import components
from mmstream.storage import files

_MAX_CONFIG_BYTES = 1 << 18
_STAND_INS: Mapping[tuple[str, ...], Any] = {
    ("source",): {"use": STAND_IN, "path": STAND_IN},
    ("source", "use"): STAND_IN,
    ("source", "path"): STAND_IN,
    ("fields",): {},
    ("model",): {"encoders": {}},
    ("model", "encoders"): {},
}

TINY: Mapping[str, Any] = {
    "source.limit": 256,
    "golden": 2,
    "model.width": 16,
    "training.epochs": 1,
    "training.steps_per_epoch": 4,
    "training.batch_size": 16,
}
"""The values that `--tiny` sets, so that a config can be tried end to end in seconds."""


def load_config(path: str, overrides: Sequence[str] = (), *, tiny: bool = False, network: bool = True) -> Config:
    """Read and check a config file.

    Args:
        path: the YAML file. Relative paths in it are taken from its folder.
        overrides: such as "training.epochs=3"; the value is YAML.
        tiny: apply the overrides of `TINY` first.
        network: also check the parameters of encoders, fusions, heads and objectives, which imports Keras.

    Raises:
        ConfigError: the file has problems; the message lists all of them.
    """
    document = _read(path)
    data, lines = document.data, document.lines
    problems = [Problem(*problem) for problem in document.problems]
    for key, value in TINY.items() if tiny else ():
        with contextlib.suppress(ValueError):  # a section that is not a mapping is reported below
            _override(data, {}, key, value)
    for text in overrides:
        try:
            problems += _apply(data, lines, text)
        except ValueError as error:
            problems.append(Problem(0, f"--set {text}", describe(error)))
    unread = {problem.path for problem in problems}
    config, structural, whole = _validate(data, lines)
    problems += [problem for problem in structural if problem.path not in unread]
    if config is not None:
        problems += check_components(config, lines, network=network)
        problems += check_wiring(config, lines) if whole else []
    if problems or config is None:
        raise _error(path, problems)
    overridden = [text.partition("=")[0].strip() for text in overrides]
    by_tiny = [key for key in TINY if tiny and not any(f"{key}.".startswith(f"{each}.") for each in overridden)]
    return _resolve_paths(config, path).with_tiny(by_tiny)


def _error(path: str, problems: Sequence[Problem]) -> ConfigError:
    unique = sorted(set(problems))
    count = "1 problem" if len(unique) == 1 else f"{len(unique)} problems"
    return ConfigError(f"{path} has {count}:\n" + "\n".join(f"  {problem}" for problem in unique))


def _read(path: str) -> Document:
    """Read a file's data, and the line of every path in it."""
    try:
        data = files.read_bytes(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or describe(error)
        raise ConfigError(f"cannot read the config {path}: {reason}") from error
    if len(data) > _MAX_CONFIG_BYTES:
        raise ConfigError(f"the config {path} is larger than {_MAX_CONFIG_BYTES:,} bytes; is it the right file?")
    try:
        document = read_yaml(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"not UTF-8: the byte 0x{data[error.start]:02x} ({error.reason})"
        raise _error(path, [Problem(line, "", message)]) from error
    except InvalidYamlError as error:
        raise _error(path, [Problem(error.line, "", f"not valid YAML: {error}")]) from error
    if not isinstance(document.data, dict):
        raise ConfigError(f"{path} is not a config: expected keys such as `source`, `fields`, `model`")
    return document


def _apply(data: Any, lines: dict[str, int], text: str) -> list[Problem]:
    """Apply one `--set` to the data; returns the problems of the value itself.

    Raises:
        ValueError: it is not key=value, or its key leads through a value that has no keys.
    """
    key, separator, value = text.partition("=")
    if not separator:
        raise ValueError("expected key=value, such as training.epochs=3")
    key = key.strip()
    document = read_yaml(value)
    _override(data, lines, key, document.data)
    inner = {path: f".{path}" if path and path[0] != "[" else path for _, path, _ in document.problems}
    return [Problem(0, f"--set {key}{inner[path]}", message) for _, path, message in document.problems]


def _override(data: Any, lines: dict[str, int], key: str, value: Any) -> None:
    *parents, last = steps = key.split(".")
    if not all(steps):
        raise ValueError("expected key=value, such as training.epochs=3")
    for depth, step in enumerate(parents, 1):
        if data.get(step) is None:
            data[step] = {}
            lines.setdefault(".".join(steps[:depth]), 0)
        data = data[step]
        if not isinstance(data, dict):
            raise ValueError(f"{'.'.join(steps[:depth])} has no keys; set it as a whole")
    data[last] = value
    for place in [p for p in lines if p == key or p.startswith((f"{key}.", f"{key}["))]:
        del lines[place]
    lines[key] = 0


def _validate(data: dict[str, Any], lines: Mapping[str, int]) -> tuple[Config | None, list[Problem], bool]:
    """Validate data: returns the config, the problems of its structure, and whether its parts can be compared.

    They can if no part is missing. Wrong values are removed and missing ones replaced by stand-ins, and the rest is
    validated again, so that one bad key does not hide the problems of others.
    """
    data = copy.deepcopy(data)
    problems: list[Problem] = []
    seen: list[str] = []
    whole = True
    while True:
        try:
            return Config.model_validate(data), problems, whole
        except pydantic.ValidationError as error:
            errors = error.errors()
        for one in errors:
            path = _path(one)
            if one["type"] != "missing" or not any(p == path or p.startswith(f"{path}.") for p in seen):
                problems.append(problem_at(lines, path, _message(one)))
                seen.append(path)
        mended = [_mend(data, one) for one in errors]
        if not any(mended):
            return None, problems, False
        whole = whole and not any(one["type"] == "missing" and one["loc"][0] in ("fields", "model") for one in errors)


def _mend(data: dict[str, Any], error: Any) -> bool:
    """Remove the value that a pydantic error is about, or fill in the missing one; False where that is impossible."""
    steps = list(error["loc"])
    stand_in = None
    if error["type"] == "missing":
        stand_in = _STAND_INS.get(tuple(steps))
        steps = steps if stand_in is not None else steps[:-1]
    while len(steps) > 1 and isinstance(data.get(steps[0]), dict):
        data = data[steps.pop(0)]
    if stand_in is not None:
        data[steps[0]] = copy.deepcopy(stand_in)
        return True
    return bool(steps) and data.pop(steps[0], data) is not data


def _path(error: Any) -> str:
    """The path that a pydantic error is about, such as "source.roots[1]"."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error["loc"]).removeprefix(".")


def _message(error: Any) -> str:
    """The message for a pydantic error."""
    if error["type"] != "extra_forbidden":
        return components.explain([error])
    *section, key = error["loc"]
    return f"unknown key {key!r}. {choices(key, _known_keys(section))}"


def _known_keys(parts: Sequence[Any]) -> list[str]:
    """The keys of the section at a path."""
    section: type[pydantic.BaseModel] = Config
    for part in parts:
        if part in section.model_fields:
            annotation = section.model_fields[part].annotation
            kinds = [kind for kind in (annotation, *typing.get_args(annotation)) if inspect.isclass(kind)]
            section = next((kind for kind in kinds if issubclass(kind, pydantic.BaseModel)), section)
    return list(section.model_fields)


def _resolve_paths(config: Config, path: str) -> Config:
    folder = files.parent(path)
    absolute = folder if files.is_remote(folder) else str(Path(folder).resolve())
    source = config.source.model_copy(
        update={
            "path": files.join(absolute, files.expanded(config.source.path)),
            "roots": [files.join(absolute, files.expanded(root)) for root in config.source.roots],
        }
    )
    return config.model_copy(update={"source": source})
