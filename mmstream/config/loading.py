"""Reading a config file: YAML 1.2 with line numbers, overrides, and one list of all problems."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic

from mmstream.config.checks import STAND_IN, Problem, check_components, check_wiring, problem_at
from mmstream.config.checks import warnings as warnings
from mmstream.config.open_values import ANY, Closed, close, first, malformed, occurring
from mmstream.config.schema import Config
from mmstream.config.yaml_lines import Document, InvalidYamlError, read_yaml
from mmstream.errors import ConfigError, choices, describe
from mmstream.plugins import components
from mmstream.plugins.components import shown
from mmstream.storage import files

_MAX_CONFIG_BYTES = 1 << 18
_LEFT_OPEN = "{} is open: `mmstream tune` searches for its best value; here, give a single value"
_SET = "--set "
_CANDIDATE = re.compile(rf"\.{ANY}\[\d+\]$")
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


@dataclasses.dataclass(frozen=True)
class ConfigText:
    """The text of a config, read and overridden but not checked.

    Attributes:
        path: the file.
        data: dicts, lists and scalars.
        lines: the line of every path in `data`; 0 if `--set` gave it.
        problems: what could not be read.
        by_tiny: keys that `--tiny` has set.
    """

    path: str
    data: dict[str, Any]
    lines: Mapping[str, int]
    problems: Sequence[Problem]
    by_tiny: Sequence[str]


def load_config(
    path: str,
    overrides: Sequence[str] = (),
    *,
    tiny: bool = False,
    network: bool = True,
    open_values: Literal["refuse", "first"] = "refuse",
) -> Config:
    """Read and check a config file.

    Args:
        path: the YAML file. Relative paths in it are taken from its folder.
        overrides: such as "training.epochs=3"; the value is YAML.
        tiny: apply the overrides of `TINY` first.
        network: also check the parameters of encoders, fusions, heads and objectives, which imports Keras.
        open_values: whether to refuse values that are left to `mmstream tune`, or to take the first candidate of each,
            for what does not depend on the network and its training.

    Raises:
        ConfigError: the file has problems; the message lists all of them.
    """
    text = read_text(path, overrides, tiny=tiny)
    problems = [*text.problems]
    if open_values == "refuse":
        for place, value in occurring(text.data):
            if f".{ANY}[" not in place:  # it lies in none that has been named
                problems.append(problem_at(text.lines, place, _LEFT_OPEN.format(shown(value))))
    wrong = malformed(text.data, text.lines)
    if wrong:
        raise problems_of(path, problems if open_values == "refuse" else [*problems, *wrong])
    config, found = check_text(text, close(text.data, first), network=network)
    if problems or found or config is None:
        raise problems_of(path, [*problems, *found])
    return config


def read_text(path: str, overrides: Sequence[str] = (), *, tiny: bool = False) -> ConfigText:
    """Read a config file and override its keys; see `load_config`.

    Raises:
        ConfigError: it cannot be read at all.
    """
    document = _read(path)
    data, lines = document.data, document.lines
    problems = [Problem(*problem) for problem in document.problems]
    for key, value in TINY.items() if tiny else ():
        with contextlib.suppress(ValueError):  # a section that is not a mapping is reported below
            override(data, {}, key, value)
    for text in overrides:
        try:
            problems += _apply(data, lines, text)
        except ValueError as error:
            problems.append(Problem(0, f"--set {text}", describe(error)))
    overridden = [text.partition("=")[0].strip() for text in overrides]
    by_tiny = [key for key in TINY if tiny and not any(f"{key}.".startswith(f"{each}.") for each in overridden)]
    return ConfigText(path, data, lines, problems, by_tiny)


def check_text(text: ConfigText, closed: Closed, *, network: bool = True) -> tuple[Config | None, list[Problem]]:
    """Check a config in which every open value is chosen; returns it, and its problems by their places in the file."""
    written = {path: _line_of(text.lines, place) for path, place in closed.places.items()}
    lines = {path: line for path, line in written.items() if line is not None}
    config, structural, whole = _validate(closed.data, lines)
    unread = {problem.path for problem in text.problems}
    problems = [problem for problem in structural if problem.path not in unread]
    if config is not None:
        problems += check_components(config, lines, network=network)
        problems += check_wiring(config, lines) if whole else []
        config = _resolve_paths(config, text.path).with_tiny(text.by_tiny)
    return config, [_in_file(problem, closed.places) for problem in problems]


def _line_of(lines: Mapping[str, int], place: str) -> int | None:
    """The line of a value; that of its open value if it is a candidate that `--set` gave; None if unknown."""
    while place not in lines and _CANDIDATE.search(place):
        place = _CANDIDATE.sub("", place)
    return lines.get(place)


def _in_file(problem: Problem, places: Mapping[str, str]) -> Problem:
    """A problem of closed data, with its path in the file, where the value may be a candidate."""
    prefix = _SET if problem.path.startswith(_SET) else ""
    path = known = problem.path.removeprefix(prefix)
    while known and known not in places:
        known = known[: max(known.rfind("."), known.rfind("["), 0)]
    return dataclasses.replace(problem, path=f"{prefix}{places[known]}{path[len(known) :]}") if known else problem


def problems_of(path: str, problems: Sequence[Problem]) -> ConfigError:
    """Make the error that lists the problems of a file, each once, by line."""
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
        raise problems_of(path, [Problem(line, "", message)]) from error
    except InvalidYamlError as error:
        raise problems_of(path, [Problem(error.line, "", f"not valid YAML: {error}")]) from error
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
    override(data, lines, key, document.data)
    inner = {path: f".{path}" if path and path[0] != "[" else path for _, path, _ in document.problems}
    return [Problem(0, f"--set {key}{inner[path]}", message) for _, path, message in document.problems]


def override(data: Any, lines: dict[str, int], key: str, value: Any) -> None:
    """Set a key, such as "training.epochs", in data of a config; its line becomes 0.

    Raises:
        ValueError: it is not a key, or leads through a value that has no keys.
    """
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
    return [field.alias or name for name, field in section.model_fields.items()]


def _resolve_paths(config: Config, path: str) -> Config:
    folder = files.parent(path)
    absolute = folder if files.is_remote(folder) else str(Path(folder).resolve())
    source = config.source.model_copy(
        update={
            "path": files.join(absolute, files.expanded(config.source.path)),
            "roots": [files.join(absolute, files.expanded(root)) for root in config.source.roots],
        }
    )
    donors = [
        each.model_copy(update={"donor": files.join(absolute, files.expanded(each.donor))})
        for each in config.training.initialise
    ]
    training = config.training.model_copy(update={"initialise": donors}) if donors else config.training
    return config.model_copy(update={"source": source, "training": training})
