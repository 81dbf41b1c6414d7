"""The versions of packages that decide a model's labels."""

from __future__ import annotations

from importlib import metadata

from mmstream.config.schema import Config
from mmstream.plugins import registry

_CORE_DISTRIBUTIONS = ("mmstream", "keras", "tensorflow", "pillow")


def versions_of(config: Config) -> dict[str, str]:
    """Versions of the distributions that provide a config's fields and network, and of those that they run on."""
    used = {registry.component("field", field.use) for field in config.fields.values()}
    used |= {registry.component("encoder", encoder.use) for encoder in config.model.encoders.values()}
    used |= {registry.component("head", head.use) for head in config.model.heads.values()}
    if config.model.fusion:
        used.add(registry.component("fusion", config.model.fusion.use))
    if config.model.imputation:
        used.add(registry.component("objective", config.model.imputation.use))
    versions = {component.distribution: component.version for component in used}
    for name in _CORE_DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return dict(sorted(versions.items()))
