"""Find installed plugins, remember what went wrong with each, look components up by name."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata as metadata
import pkgutil
from typing import Any

import packaging.requirements
import packaging.utils
import pluggy

from mmstream import hookspecs
from mmstream.errors import MmstreamError, choices, describe

GROUP = "mmstream"
KINDS = ("source", "sink", "field", "encoder", "fusion", "head", "objective")


@dataclasses.dataclass(frozen=True)
class Plugin:
    """One installed plugin, loaded or not.

    Attributes:
        name: of its entry point.
        distribution: the installed package that brings it.
        version: of that package.
        components: kind -> names it registers.
        error: what went wrong, None for a plugin that loaded.
    """

    name: str
    distribution: str
    version: str
    components: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    error: Exception | None = None

    @property
    def problem(self) -> str:
        """The first line of what went wrong, or ""."""
        return f"{type(self.error).__name__}: {describe(self.error).splitlines()[0]}" if self.error else ""


@dataclasses.dataclass(frozen=True)
class Component:
    """Where a component comes from: `reference` is "module:Class"."""

    kind: str
    name: str
    reference: str
    plugin: str
    distribution: str
    version: str


@functools.cache
def load() -> tuple[tuple[Plugin, ...], dict[tuple[str, str], Component]]:
    """Every plugin and every component; a broken plugin becomes a record, not a crash.

    A name that two plugins claim belongs to neither: both are kept, and `find` refuses that name and says why.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    plugins: list[Plugin] = []
    claims: dict[tuple[str, str], list[Component]] = {}
    for entry in sorted(metadata.entry_points(group=GROUP), key=lambda e: e.name):
        assert entry.dist is not None
        about = (entry.name, entry.dist.name, entry.dist.version)
        try:
            _check_requires(entry.dist)
            module = entry.load()
            manager.register(module, name=entry.name)
            found = _components(manager, module, *about)
        except Exception as error:  # noqa: BLE001 - third-party code may raise anything; it is kept and shown
            if manager.has_plugin(entry.name):
                manager.unregister(name=entry.name)
            plugins.append(Plugin(*about, error=error))
            continue
        for component in found:
            claims.setdefault((component.kind, component.name), []).append(component)
        by_kind = {kind: tuple(sorted(c.name for c in found if c.kind == kind)) for kind in KINDS}
        plugins.append(Plugin(*about, components={kind: names for kind, names in by_kind.items() if names}))
    return tuple(plugins), _unique(claims, plugins)


def names(kind: str) -> list[str]:
    """The names of all components of one kind, sorted."""
    return sorted(name for known, name in load()[1] if known == kind)


def component(kind: str, name: str) -> Component:
    """Where the component of this kind and name comes from; imports nothing of it.

    Raises:
        MmstreamError: there is none, or two plugins claim the name; says what exists and which plugins are broken.
    """
    plugins, components = load()
    if (kind, name) in components:
        return components[kind, name]
    message = f"no {kind} is called {name!r}. {choices(name, names(kind))}"
    broken = [f"{plugin.distribution} ({plugin.problem})" for plugin in plugins if plugin.error]
    if broken:
        message += f" Plugins that failed to load: {'; '.join(broken)}."
    raise MmstreamError(message)


def find(kind: str, name: str) -> type:
    """The class of the component of this kind and name, imported only now.

    Raises:
        MmstreamError: no installed plugin has it, or its module cannot be imported.
    """
    known = component(kind, name)
    try:
        return pkgutil.resolve_name(known.reference)
    except Exception as error:
        raise MmstreamError(
            f"the {kind} {name!r} of {known.distribution} {known.version} cannot be imported from "
            f"{known.reference!r}: {type(error).__name__}: {describe(error)}"
        ) from error


def _components(
    manager: pluggy.PluginManager, module: object, name: str, distribution: str, version: str
) -> list[Component]:
    """What one plugin registers, with its hooks and references checked."""
    found = []
    for hook in manager.get_hookcallers(module) or ():
        if not hook.has_spec():
            known = [f"register_{kind}s" for kind in KINDS]
            raise LookupError(f"unknown hook {hook.name!r}. {choices(hook.name, known)}")
        kind = hook.name.removeprefix("register_").removesuffix("s")
        for implementation in hook.get_hookimpls():
            if implementation.plugin is not module:
                continue
            registered: Any = implementation.function()
            for key, reference in registered.items():
                if not isinstance(reference, str) or ":" not in reference:
                    raise TypeError(f"{hook.name} gives {key!r}: {reference!r}; expected the text 'module:Class'")
                found.append(Component(kind, key, reference, name, distribution, version))
    return found


def _unique(claims: dict[tuple[str, str], list[Component]], plugins: list[Plugin]) -> dict[tuple[str, str], Component]:
    """The names that exactly one plugin claims; every plugin of a shared claim is marked broken."""
    unique = {}
    for (kind, name), claimed in sorted(claims.items()):
        if len(claimed) == 1:
            unique[kind, name] = claimed[0]
            continue
        who = " and ".join(f"{c.plugin!r} ({c.distribution})" for c in claimed)
        error = LookupError(f"the {kind} {name!r} is registered by {who}; uninstall one, or rename its component")
        for index, plugin in enumerate(plugins):
            if plugin.name in {c.plugin for c in claimed} and plugin.error is None:
                plugins[index] = dataclasses.replace(plugin, error=error)
    return unique


def _check_requires(dist: metadata.Distribution) -> None:
    """A plugin that needs another mmstream than this one is refused before its code runs."""
    for text in dist.requires or ():
        need = packaging.requirements.Requirement(text)
        if packaging.utils.canonicalize_name(need.name) != "mmstream":
            continue
        have = metadata.version("mmstream")
        if (need.marker is None or need.marker.evaluate({"extra": ""})) and have not in need.specifier:
            raise ImportError(f"{dist.name} {dist.version} needs mmstream{need.specifier}, this is {have}")
