"""Reading a config file: YAML 1.2 with line numbers, overrides, and all of its problems in one list."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mmstream import components, files
from mmstream.config import FUSED, Config, _Use, needs_fusion, plain
from mmstream.errors import ConfigError, choices, describe

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_MAX_CONFIG_BYTES = 1 << 20

TINY: Mapping[str, Any] = {
    "source.limit": 256,
    "golden": 2,
    "model.width": 16,
    "training.epochs": 1,
    "training.steps_per_epoch": 4,
    "training.batch_size": 16,
}
"""What `--tiny` overrides: enough to prove a config end to end in seconds."""


@dataclasses.dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong in a config file; `line` is 0 where there is none to name."""

    line: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}, " if self.line else ""
        return f"{where}{self.path}: {self.message}" if self.path else f"{where}{self.message}"


def load_config(path: str, overrides: Sequence[str] = (), *, tiny: bool = False, network: bool = True) -> Config:
    """Read and check a config file.

    Args:
        path: the YAML file. Relative paths in it are taken from its folder.
        overrides: as "training.epochs=3"; the value is YAML.
        tiny: apply the overrides of `TINY` first.
        network: also check the parameters of encoders, fusions, heads and objectives, which imports Keras.

    Raises:
        ConfigError: lists every problem at once.
    """
    data, lines = _read_yaml(path)
    data = plain(data)
    problems: list[Problem] = []
    for key, value in TINY.items() if tiny else ():
        _override(data, key, value)
    for text in overrides:
        key, separator, value = text.partition("=")
        try:
            if not separator or not key:
                raise ValueError("expected key=value, as training.epochs=3")
            _override(data, key.strip(), plain(YAML(typ="safe").load(value)))
        except (ValueError, YAMLError) as error:
            problems.append(Problem(0, f"--set {text}", describe(error)))
    config, found = _validate(data, lines)
    problems += found
    if config is not None:
        problems += check_components(config, lines, network=network) + check_wiring(config, lines)
    if problems:
        unique = sorted(set(problems))
        count = "1 problem" if len(unique) == 1 else f"{len(unique)} problems"
        raise ConfigError(f"{path} has {count}:\n" + "\n".join(f"  {problem}" for problem in unique))
    assert config is not None
    return _resolve_paths(config, path)


def check_components(config: Config, lines: Mapping[str, int], *, network: bool = True) -> list[Problem]:
    """Every component named in a config exists and takes the parameters that it is given."""
    problems = []
    for kind, path, part in _uses(config):
        if network or kind in ("source", "field"):
            problems += _check_use(kind, path, part.use, part.parameters, lines)
    return problems


def check_wiring(config: Config, lines: Mapping[str, int] | None = None) -> list[Problem]:
    """Fields, encoders, heads and objectives fit together."""
    model, problems = config.model, []

    def wrong(path: str, message: str) -> None:
        problems.append(Problem(_line(lines or {}, path), path, message))

    for section, keys in (
        ("fields", config.fields),
        ("model.heads", model.heads),
        ("model.objectives", model.objectives),
    ):
        for key in keys:
            if not _NAME.fullmatch(key) or key == "id" or key == FUSED or key.endswith("_score"):
                wrong(f"{section}.{key}", f"{key!r} cannot be a name: use a-z, 0-9 and _; not 'id', 'fused' or …_score")
    for name in model.encoders:
        if name not in config.fields:
            wrong(f"model.encoders.{name}", f"there is no field {name!r}. {choices(name, config.fields)}")
    if not model.encoders:
        wrong("model.encoders", "name at least one encoder")
    if not model.heads and not model.objectives:
        wrong("model", "without heads or objectives there is nothing to train")
    for name, head in model.heads.items():
        path = f"model.heads.{name}"
        if head.target not in config.fields:
            wrong(f"{path}.target", f"there is no field {head.target!r}. {choices(head.target, config.fields)}")
            continue
        for field in config.reads(head):
            if field not in model.encoders:
                known = [*model.encoders, FUSED]
                wrong(f"{path}.reads", f"no encoder reads a field {field!r}. {choices(field, known)}")
            elif field in config.fields and config.fields[field].column == config.fields[head.target].column:
                wrong(
                    f"{path}.reads",
                    f"it reads {config.fields[field].column!r}, the column that it predicts; name other fields",
                )
        if needs_fusion(head) and model.fusion is None:
            wrong(f"{path}.reads", "it reads a fusion, but there is no model.fusion")
    return problems


def warnings(config: Config) -> list[str]:
    """What is allowed but probably not meant."""
    found = []
    fusions = {config.reads(head) for head in config.model.heads.values() if needs_fusion(head)}
    if config.training.modality_dropout and not any(len(fields) > 1 for fields in fusions):
        found.append("training.modality_dropout has no effect: no head reads a fusion of two or more fields")
    read = {field for head in config.model.heads.values() for field in config.reads(head)}
    named = {str(value) for o in config.model.objectives.values() for value in _flat(o.parameters)}
    for name in config.model.encoders:
        if name not in read | named:
            found.append(f"model.encoders.{name}: no head and no objective reads it")
    return found


def _validate(data: Any, lines: Mapping[str, int]) -> tuple[Config | None, list[Problem]]:
    """The config, and what is wrong with its structure.

    What is wrong is taken out and the rest validated again, so that one bad key does not hide the problems of others.
    None where something is missing that nothing can stand in for.
    """
    problems: list[Problem] = []
    while True:
        try:
            return Config.model_validate(data), problems
        except pydantic.ValidationError as error:
            errors = error.errors()
        problems += [_problem(e, lines) for e in errors]
        if not min([_take_out(data, e) for e in errors]):
            return None, problems


def _take_out(data: Any, error: Any) -> bool:
    """Remove what a pydantic error complains of; False where that cannot be."""
    steps = list(error["loc"])
    if error["type"] == "missing":
        steps.pop()
    elif error["type"] == "value_error":
        steps.append("column" if steps == ["split"] else "")
    for step in steps[:-1]:
        if not isinstance(data, dict) or step not in data:
            return True
        data = data[step]
    return isinstance(data, dict) and bool(steps) and data.pop(steps[-1], None) is not None


def _uses(config: Config) -> Iterable[tuple[str, str, _Use]]:
    yield "source", "source", config.source
    for name, field in config.fields.items():
        yield "field", f"fields.{name}", field
    for name, encoder in config.model.encoders.items():
        yield "encoder", f"model.encoders.{name}", encoder
    if config.model.fusion:
        yield "fusion", "model.fusion", config.model.fusion
    for name, head in config.model.heads.items():
        yield "head", f"model.heads.{name}", head
    for name, objective in config.model.objectives.items():
        yield "objective", f"model.objectives.{name}", objective
    yield "optimizer", "training.optimizer", config.training.optimizer


def _check_use(
    kind: str, path: str, use: str, parameters: Mapping[str, Any], lines: Mapping[str, int]
) -> list[Problem]:
    found = []
    for key, message in components.check(kind, use, parameters):
        where = f"{path}.{key}" if key else path
        found.append(Problem(_line(lines, where.partition("[")[0]), where, message))
    return found


def _read_yaml(path: str) -> tuple[Any, dict[str, int]]:
    """The file's data and the line of every path in it, from 1."""
    try:
        text = files.read_bytes(path)
    except OSError as error:
        raise ConfigError(f"cannot read the config {path}: {error.strerror or error}") from error
    if len(text) > _MAX_CONFIG_BYTES:
        raise ConfigError(f"the config {path} is larger than {_MAX_CONFIG_BYTES} bytes; is it the right file?")
    try:
        data = YAML(typ="rt").load(text.decode("utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {describe(error)}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} is not a config: expected keys like `source`, `fields`, `model`")
    lines: dict[str, int] = {}
    _collect_lines(data, "", lines)
    return data, lines


def _collect_lines(node: Any, path: str, lines: dict[str, int]) -> None:
    if isinstance(node, dict):
        for key, value in node.items():
            where = f"{path}.{key}" if path else str(key)
            position = getattr(node, "lc", None)
            if position is not None and key in (position.data or {}):
                lines[where] = position.key(key)[0] + 1
            _collect_lines(value, where, lines)


def _line(lines: Mapping[str, int], path: str) -> int:
    """The line of a path, or of the nearest place above it that has one."""
    while path and path not in lines:
        path = path.rpartition(".")[0]
    return lines.get(path, 0)


def _override(data: Any, key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for step in parents:
        if not isinstance(data, dict):
            raise ValueError(f"{key}: {step!r} lies in a value that has no keys")
        if data.get(step) is None:
            data[step] = {}
        data = data[step]
    if not isinstance(data, dict):
        raise ValueError(f"{key}: {last!r} lies in a value that has no keys")
    data[last] = value


def _problem(error: Any, lines: Mapping[str, int]) -> Problem:
    """A pydantic error in this file's words."""
    parts = [str(part) for part in error["loc"] if part not in ("str", "list[str]")]
    path = ".".join(parts)
    if error["type"] == "extra_forbidden":
        known = _known_keys(parts[:-1])
        message = f"unknown key {parts[-1]!r}. {choices(parts[-1], known)}"
    elif error["type"] == "missing":
        message = "is missing"
    elif error["type"] == "value_error":
        message = str(error["ctx"]["error"])
    else:
        message = f"{error['msg']}; found {error['input']!r}"
    return Problem(_line(lines, path), path, message)


def _known_keys(parts: Sequence[str]) -> list[str]:
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
            "path": files.join(absolute, config.source.path),
            "roots": [files.join(absolute, root) for root in config.source.roots],
        }
    )
    return config.model_copy(update={"source": source})


def _flat(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _flat(item)
    else:
        yield value
