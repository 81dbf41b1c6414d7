"""Checks that components, parameters, fields, heads and objectives that a config names exist and fit together."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmstream.config.adaptation_checks import check_adaptation
from mmstream.config.schema import FUSED, Config, needs_fusion
from mmstream.config.sections import Use
from mmstream.errors import choices
from mmstream.plugins import components, registry

STAND_IN = "?"
"""Takes the place of a missing name, so that the rest can be checked."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclasses.dataclass(frozen=True, order=True)
class Problem:
    """One problem of a config file; `line` is 0 if no line is known."""

    line: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}, " if self.line else ""
        return f"{where}{self.path}: {self.message}" if self.path else f"{where}{self.message}"


def problem_at(lines: Mapping[str, int], path: str, message: str) -> Problem:
    """Make a problem with the line of a path, or of the nearest section above it that has one; line 0 means `--set`."""
    place = path
    while place and place not in lines:
        place = place[: max(place.rfind("."), place.rfind("["), 0)]
    is_override = place and lines[place] == 0
    return Problem(lines.get(place, 0), f"--set {path}" if is_override else path, message)


def check_components(config: Config, lines: Mapping[str, int], *, network: bool = True) -> list[Problem]:
    """Check that every component named in a config exists and takes the parameters that it is given."""
    problems = []
    for kind, path, part in _uses(config):
        if part.use != STAND_IN and (network or kind in ("source", "field")):
            wrong = components.check(kind, part.use, part.parameters)
            if kind == "objective" and not wrong:
                wrong = list(_check_needs(config, part, lines))
            for key, message in wrong:
                problems.append(problem_at(lines, f"{path}.{key}" if key else path, message))
    return problems


def check_wiring(config: Config, lines: Mapping[str, int]) -> list[Problem]:
    """Check that fields, encoders and heads fit together."""
    model, problems = config.model, []
    fields, encoders = _names(config.fields, "fields", lines), _names(model.encoders, "model.encoders", lines)

    def wrong(path: str, message: str) -> None:
        problems.append(problem_at(lines, path, message))

    for section, keys in (
        ("fields", config.fields),
        ("model.heads", model.heads),
        ("model.objectives", model.objectives),
    ):
        for key in keys:
            if not _NAME.fullmatch(key) or key in ("id", FUSED) or key.endswith(("_score", "_match")):
                message = f"{key!r} cannot be a name: use a-z, 0-9 and _; not 'id', 'fused', *_score or *_match"
                wrong(f"{section}.{key}", message)
    if isinstance(config.split.near, list):
        for number, name in enumerate(config.split.near):
            path = f"split.near[{number}]"
            if name not in fields:
                wrong(path, f"there is no field {name!r}. {choices(name, fields)}")
            elif name in config.fields and not _is_compared(config.fields[name].use):
                wrong(
                    path,
                    f"fields of type {config.fields[name].use!r} are not compared; name fields of pictures or texts",
                )
    elif config.split.near and config.fields and not any(_is_compared(part.use) for part in config.fields.values()):
        wrong("split.near", "has no effect: only pictures and texts are compared, and no field is either")
    for name, part in config.fields.items():
        if part.reference is not None and not _reads_files(part.use):
            wrong(f"fields.{name}.reference", f"has no effect: {part.use!r} reads no files")
    for key in set(model.heads) & set(model.objectives):
        wrong(f"model.objectives.{key}", f"a head is also called {key!r}; rename one of them")
    for section, keys in (("model.heads", model.heads), ("model.objectives", model.objectives)):
        for key in keys:
            if key.startswith("val_"):
                wrong(f"{section}.{key}", f"{key!r} cannot be a name here: validation metric names begin with 'val_'")
    for key in {"embedding", *(f"embedding_{name}" for name in encoders)} & set(model.heads):
        wrong(f"model.heads.{key}", f"{key!r} names a column of embeddings in the labels; choose another name")
    for name in model.encoders:
        if name not in fields:
            wrong(f"model.encoders.{name}", f"there is no field {name!r}. {choices(name, fields)}")
    if not encoders:
        wrong("model.encoders", "name at least one encoder")
    if not (model.heads or model.objectives or _names({}, "model.heads", lines)):
        wrong("model", "without heads or objectives there is nothing to train")
    objectives = _names(model.objectives, "model.objectives", lines)
    if model.impute is not None and model.impute not in objectives:
        wrong("model.impute", f"there is no objective {model.impute!r}. {choices(model.impute, objectives)}")
    for name, head in model.heads.items():
        path = f"model.heads.{name}"
        if head.target not in fields:
            wrong(f"{path}.target", f"there is no field {head.target!r}. {choices(head.target, fields)}")
        for field in config.reads(head):
            if field not in encoders:
                readable = encoders if isinstance(head.reads, list) else encoders | {FUSED}
                wrong(f"{path}.reads", f"no encoder reads the field {field!r}. {choices(field, readable)}")
            elif {field, head.target} <= set(config.fields):
                shared = set(config.fields[field].reads) & set(config.fields[head.target].reads)
                for column in sorted(shared):
                    wrong(f"{path}.reads", f"it reads {column!r}, the column that it predicts; name other fields")
        if head.match is not None:
            reads = config.reads(head)
            if head.match not in reads:
                wrong(f"{path}.match", f"it does not read the field {head.match!r}. {choices(head.match, reads)}")
            if head.target not in encoders:
                wrong(f"{path}.match", f"its captions cannot be compared: no encoder reads {head.target!r}")
        elif "candidates" in head.model_fields_set:
            wrong(f"{path}.candidates", "has no effect without `match`")
        if needs_fusion(head) and not _has_fusion(config, lines):
            wrong(f"{path}.reads", "it reads a fusion, but there is no model.fusion")
    for path, message in (*_check_sampling(config, lines), *check_adaptation(config, lines)):
        wrong(path, message)
    return problems


def warnings(config: Config) -> list[str]:
    """Warnings about settings that are allowed but probably not intended, for a config without problems."""
    messages = []
    needs = [tensor for part in config.model.objectives.values() for tensor in _needs(part)]
    fusions = {config.reads(head) for head in config.model.heads.values() if needs_fusion(head)}
    if config.model.auxiliary and not any(len(fields) > 1 for fields in fusions):
        messages.append("model.auxiliary has no effect: no head reads a fusion of two or more fields")
    if FUSED in needs:
        fusions.add(tuple(config.model.encoders))
    if config.training.modality_dropout and not any(len(fields) > 1 for fields in fusions):
        messages.append("training.modality_dropout has no effect: nothing reads a fusion of two or more fields")
    if config.model.imputation:
        imputed = {tensor.split(".")[1] for tensor in _needs(config.model.imputation) if "." in tensor}
        if not any(len(imputed & set(fields)) > 1 for fields in fusions):
            messages.append(
                f"model.impute has no effect: nothing reads a fusion of two or more of {', '.join(sorted(imputed))}"
            )
    if config.training.weighting != "fixed" and len(config.model.heads) < 2:
        messages.append(f"training.weighting: {config.training.weighting} has no effect with fewer than two heads")
    for name, part in config.losses.items():
        if part.weight and part.whole_from > config.training.epochs:
            what = "never counts" if part.from_epoch > config.training.epochs else "never reaches its full weight"
            messages.append(f"the loss of {name} {what}: training ends after {config.training.epochs} epochs")
        elif not part.weight and part.whole_from > 1:
            messages.append(f"from_epoch and warm_up of {name} have no effect: its weight is 0")
    stopping = config.training.early_stopping
    if stopping and "patience" in stopping.model_fields_set and stopping.patience + 1 >= config.training.epochs:
        messages.append(
            f"training.early_stopping.patience has no effect: training ends after {config.training.epochs} epochs"
        )
    if config.model.fusion and not fusions:
        messages.append("model.fusion has no effect: no head and no objective reads a fusion")
    for name, head in config.model.heads.items():
        if head.match and tuple(sorted((head.match, head.target))) not in aligned(config):
            messages.append(f"model.heads.{name}.match: no objective aligns {head.match} and {head.target}")
    read = {field for head in config.model.heads.values() for field in config.reads(head)}
    read |= {tensor.split(".")[1] for tensor in needs if "." in tensor}
    read |= {field for fields in fusions for field in fields}
    for name in config.model.encoders:
        if name not in read:
            messages.append(f"model.encoders.{name}: no head and no objective reads it")
    used = {*config.model.encoders, *(head.target for head in config.model.heads.values())}
    messages += [
        f"fields.{name}: no encoder reads it and no head predicts it" for name in config.fields if name not in used
    ]
    return messages


def aligned(config: Config) -> set[tuple[str, str]]:
    """The pairs of fields whose embeddings an objective aligns, each pair sorted by name."""
    pairs: set[tuple[str, str]] = set()
    for part in config.model.objectives.values():
        fields = sorted({name.split(".")[1] for name in _needs(part) if name.startswith("embeddings.")})
        pairs |= set(itertools.combinations(fields, 2))
    return pairs


def _check_sampling(config: Config, lines: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Problems of `training.sampling`: pairs of (path, message)."""
    if config.training.sampling is None:
        return
    path, name = "training.sampling.balanced", config.training.sampling.balanced
    heads = _names(config.model.heads, "model.heads", lines)
    if name not in heads:
        yield path, f"there is no head {name!r}. {choices(name, heads)}"
    part = config.model.heads.get(name)
    if part is None or part.use not in registry.names("head"):
        return
    head: Any = registry.find("head", part.use)
    if head.label_type != "string" or hasattr(head, "compare"):
        yield path, f"{part.use!r} does not choose one class for each record; name a head that does"
    elif hasattr(head, "needs_class_counts") and head.needs_class_counts(part.parameters):
        keys = [key for key in part.parameters if not head.needs_class_counts({**part.parameters, key: None})]
        place = ".".join(["model.heads", name, *keys[:1]])
        yield place, f"has no effect: training.sampling makes the classes of {name!r} equally frequent"


def _uses(config: Config) -> Iterable[tuple[str, str, Use]]:
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


def _reads_files(use: str) -> bool:
    """Whether a field reads media, or is not installed and so may read media."""
    return use not in registry.names("field") or bool(registry.find("field", use).media)  # type: ignore[attr-defined]


def _is_compared(use: str) -> bool:
    """Whether near-equal values of a field are found, or it is not installed and so may be such a field."""
    return use not in registry.names("field") or registry.find("field", use).similarity is not None  # type: ignore[attr-defined]


def _needs(part: Use) -> list[str]:
    return list(components.build("objective", part.use, part.parameters).needs())


def _check_needs(config: Config, part: Use, lines: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Problems with tensors that an objective needs; the composer also checks the last part of each name."""
    try:
        needs = _needs(part)
    except Exception as error:  # noqa: BLE001 - a plugin's objective may raise anything; it is shown
        yield "", registry.summary(error)
        return
    encoders = _names(config.model.encoders, "model.encoders", lines)
    heads = _names(config.model.heads, "model.heads", lines)
    targets = {head.target for head in config.model.heads.values()}
    kinds = {
        "embeddings": ("no encoder reads the field", encoders),
        "present": ("no encoder reads the field", encoders),
        "fields": ("no encoder reads the field", encoders),
        "targets": ("no head predicts the field", targets | (heads - set(config.model.heads))),
        "heads": ("there is no head", heads),
        "sampled": ("there is no head", heads),
    }
    sampled = {config.model.heads[name].target for name in _of_kind("sampled", needs) if name in config.model.heads}
    for field in _of_kind("targets", needs) if sampled else ():
        if field in targets and field not in sampled:
            yield _place_of(part.parameters, field), f"the head writes {', '.join(sorted(sampled))}, not {field!r}"
    for tensor in needs if encoders else ():
        kind, *names = tensor.split(".")
        if tensor == FUSED:
            if not _has_fusion(config, lines):
                yield "", "it reads a fusion, but there is no model.fusion"
        elif kind not in kinds or not names:
            yield "", f"it needs the tensor {tensor!r}. {choices(kind, [*kinds, FUSED])}"
        elif names[0] not in kinds[kind][1]:
            lacking, existing = kinds[kind]
            yield _place_of(part.parameters, names[0]), f"{lacking} {names[0]!r}. {choices(names[0], existing)}"


def _of_kind(kind: str, needs: Iterable[str]) -> list[str]:
    """The fields or heads of the needed tensors that are of one kind."""
    return [name.split(".")[1] for name in needs if name.startswith(f"{kind}.")]


def _place_of(value: Any, name: str) -> str:
    """The place where parameters mention a name, such as "fields[1]"; "" if they do not."""
    items: Iterable[tuple[str, Any]] = ()
    if isinstance(value, Mapping):
        items = ((f".{key}", item) for key, item in value.items())
    elif isinstance(value, list):
        items = ((f"[{number}]", item) for number, item in enumerate(value))
    for step, item in items:
        place = step if item == name else step + _place_of(item, name)
        if item == name or place != step:
            return place.removeprefix(".")
    return ""


def _names(names: Iterable[str], section: str, lines: Mapping[str, int]) -> set[str]:
    """The names in a section, including those that the config lacks because they have problems of their own."""
    start = f"{section}."
    return {*names, *(path.removeprefix(start).split(".")[0] for path in lines if path.startswith(start))}


def _has_fusion(config: Config, lines: Mapping[str, int]) -> bool:
    return config.model.fusion is not None or "model.fusion.use" in lines
