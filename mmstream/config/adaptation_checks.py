"""Checks of what a config says about parts whose weights come from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mmstream.config.schema import Config
from mmstream.errors import choices
from mmstream.plugins import registry


def check_adaptation(config: Config, lines: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Problems with `training.initialise`, and with what encoders say about their backbones: pairs of (path, message).

    Args:
        config: the config.
        lines: the line of every path in it.
    """
    model = config.model
    parts = [*(f"encoders.{name}" for name in model.encoders), *(["fusion"] if model.fusion else []), "shared_space"]
    parts += [f"heads.{name}" for name in model.heads]
    named: set[str] = set()
    for number, donor in enumerate(config.training.initialise):
        is_list = any(path.startswith("training.initialise[") for path in lines)
        section = f"training.initialise[{number}]" if is_list else "training.initialise"
        for place, part in enumerate(donor.parts):
            if part not in parts:
                yield f"{section}.parts[{place}]", f"there is no part {part!r}. {choices(part, parts)}"
            elif part in named:
                yield f"{section}.parts[{place}]", f"{part!r} is named twice"
            named.add(part)
        if donor.freeze is not None and donor.freeze.forever and donor.learning_rate_scale != 1:
            yield f"{section}.learning_rate_scale", "has no effect on parts that are frozen for good"
    for name, part_config in model.encoders.items():
        yield from _check_encoder(config, name, part_config.use, is_named=f"encoders.{name}" in named)


def _check_encoder(config: Config, name: str, use: str, *, is_named: bool) -> Iterator[tuple[str, str]]:
    """Problems with the keys of an encoder that are about its backbone."""
    part, path = config.model.encoders[name], f"model.encoders.{name}"
    keys = {"freeze", "adapt", "learning_rate_scale"} & part.model_fields_set
    if use not in registry.names("encoder"):
        return
    if is_named or not hasattr(registry.find("encoder", use), "backbone"):
        why = "set it in training.initialise, which names this part" if is_named else f"{use!r} has no backbone"
        for key in sorted(keys):
            yield f"{path}.{key}", f"has no effect: {why}"
        return
    if part.adapt and part.freeze is not None and not part.freeze.forever:
        yield f"{path}.adapt", "it trains small matrices beside frozen weights; leave out `freeze`, or `adapt`"
    if "learning_rate_scale" in keys and config.freeze_of_backbone(name).forever and not part.adapt:
        yield f"{path}.learning_rate_scale", "has no effect: the backbone is frozen; set `freeze: false` to train it"
