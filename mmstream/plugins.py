"""Find installed plugins, remember what went wrong with each, look components up by name."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.metadata as metadata
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import packaging.requirements
import packaging.utils
import pluggy

from mmstream import hookspecs
from mmstream.errors import MmstreamError, choices, describe

GROUP = "mmstream"
KINDS = ("source", "sink", "publisher", "field", "encoder", "fusion", "head", "objective")

_HOOKS = {f"register_{kind}s": kind for kind in KINDS}
_REFERENCE = re.compile(r"[\w.]+:[\w.]+")


@dataclasses.dataclass(frozen=True)
class Plugin:
    """One installed plugin, loaded or not.

    Attributes:
        name: of its entry point.
        distribution: the installed package that brings it.
        version: of that package.
        components: kind -> names that it brings and that can be used.
        refused: (kind, name) -> why, of the components that another plugin brings, too; the rest can be used.
        error: what went wrong, None for a plugin that loaded.
    """

    name: str
    distribution: str
    version: str
    components: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    refused: Mapping[tuple[str, str], str] = dataclasses.field(default_factory=dict)
    error: BaseException | None = None

    @property
    def problem(self) -> str:
        """The first line of what went wrong, or ""."""
        return summary(self.error) if self.error else ""


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
    loaded: list[tuple[Plugin, list[Component]]] = []
    for entry in sorted(metadata.entry_points(group=GROUP), key=lambda e: (e.name, e.value)):
        about = (entry.name, *_distribution(entry))
        try:
            with contextlib.redirect_stdout(sys.stderr):  # what it prints must not mix with a command's output
                found = [Component(kind, name, reference, *about) for kind, name, reference in _registered(entry)]
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything; it is kept and shown
            loaded.append((Plugin(*about, error=error), []))
        else:
            loaded.append((Plugin(*about), found))
    return _settle(loaded)


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
    for plugin in plugins:
        if (kind, name) in plugin.refused:
            raise MmstreamError(plugin.refused[kind, name])
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
    whose = f"the {kind} {name!r} of {known.distribution} {known.version}"
    try:
        cls = pkgutil.resolve_name(known.reference)
    except (Exception, SystemExit) as error:
        raise MmstreamError(f"{whose} cannot be imported from {known.reference!r}: {summary(error)}") from error
    if not inspect.isclass(cls):
        raise MmstreamError(f"{whose} is no class: {known.reference!r} is of type {type(cls).__name__!r}")
    return cls


def summary(error: BaseException, *, name: bool = True) -> str:
    """The first line of an error, after its class's `name`.

    >>> summary(ImportError("no such module\\n(and more)"))
    'ImportError: no such module'
    >>> summary(SystemExit())
    'SystemExit'
    """
    said = describe(error).splitlines()[0].strip()
    kind = type(error).__name__
    return said if said == kind or not name else f"{kind}: {said}"


def _registered(entry: metadata.EntryPoint) -> Iterator[tuple[str, str, str]]:
    """Kind, name and reference of each component that a plugin registers, with its hooks checked."""
    if entry.dist is not None:
        _check_requires(entry.dist)
    for hook, function in _hooks(entry.load()):
        registered: Any = function()
        if not isinstance(registered, Mapping):
            raise TypeError(f"{hook} gives {registered!r:.80}; expected a dict, as {{'name': 'module:Class'}}")
        for name, reference in registered.items():
            if not isinstance(name, str) or not name:
                raise TypeError(f"{hook} gives the name {name!r:.80}; expected text")
            if not isinstance(reference, str) or not _REFERENCE.fullmatch(reference):
                raise TypeError(f"{hook} gives {name!r}: {reference!r:.80}; expected the text 'module:Class'")
            yield _HOOKS[hook], name, reference


def _hooks(module: Any) -> list[tuple[str, Any]]:
    """The hooks that a plugin implements."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(module)
    except pluggy.PluginValidationError as error:
        raise TypeError(str(error).splitlines()[-1]) from error
    callers = {hook.name: hook for hook in manager.get_hookcallers(module) or ()}
    for name, hook in callers.items():
        if not hook.has_spec():
            raise LookupError(f"unknown hook {name!r}. {choices(name, _HOOKS)}")
    for name in _HOOKS:
        if name not in callers and callable(getattr(module, name, None)):
            raise LookupError(f"{name} is not marked with @mmstream.hookimpl")
    if not callers:
        raise LookupError(f"it has no hook. {choices('', _HOOKS)}")
    return [(name, one.function) for name, hook in callers.items() for one in hook.get_hookimpls()]


def _settle(
    loaded: list[tuple[Plugin, list[Component]]],
) -> tuple[tuple[Plugin, ...], dict[tuple[str, str], Component]]:
    """The components whose name one plugin alone claims, and what each plugin keeps of its own."""
    claims: dict[tuple[str, str], list[Component]] = {}
    for _, found in loaded:
        for one in found:
            claims.setdefault((one.kind, one.name), []).append(one)
    unique = {key: claimed[0] for key, claimed in sorted(claims.items()) if len(claimed) == 1}
    refused = {}
    for (kind, name), claimed in sorted(claims.items()):
        if len(claimed) > 1:
            who = " and by ".join(f"{one.plugin!r} ({one.distribution} {one.version})" for one in claimed)
            advice = "neither is used; uninstall one, or rename its component"
            refused[kind, name] = f"the {kind} {name!r} is registered by {who}: {advice}"
    plugins = []
    for plugin, found in loaded:
        own = sorted((one.kind, one.name) for one in found)
        kept = {kind: tuple(n for k, n in own if k == kind and (k, n) in unique) for kind in KINDS}
        plugins.append(
            dataclasses.replace(
                plugin,
                components={kind: names for kind, names in kept.items() if names},
                refused={key: refused[key] for key in own if key in refused},
            )
        )
    return tuple(plugins), unique


def _distribution(entry: metadata.EntryPoint) -> tuple[str, str]:
    """Name and version of the package that brings an entry point, which may say neither."""
    about: Any = entry.dist.metadata if entry.dist is not None else {}
    return str(about.get("Name") or "unknown"), str(about.get("Version") or "unknown")


def _check_requires(dist: metadata.Distribution) -> None:
    """A plugin that needs another mmstream than this one is refused before its code runs."""
    for text in dist.requires or ():
        need = packaging.requirements.Requirement(text)
        if packaging.utils.canonicalize_name(need.name) != "mmstream":
            continue
        have = metadata.version("mmstream")
        applies = need.marker is None or need.marker.evaluate({"extra": ""})
        if applies and not need.specifier.contains(have, prereleases=True):
            raise ImportError(f"{dist.name} {dist.version} needs mmstream{need.specifier}, this is {have}")
