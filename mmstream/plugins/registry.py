"""Finding installed plugins and their components; a plugin that fails to load is kept with its error."""

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
from typing import TYPE_CHECKING, Any, Literal, overload

import packaging.requirements
import packaging.utils
import pluggy

from mmstream.errors import MmstreamError, choices, describe
from mmstream.plugins import hookspecs

if TYPE_CHECKING:
    from mmstream.interfaces import Encoder, Fusion, Head, Objective

GROUP = "mmstream"
KINDS = ("source", "sink", "publisher", "field", "tokenizer", "encoder", "fusion", "head", "objective")

_HOOKS = {f"register_{kind}s": kind for kind in KINDS}
_REFERENCE = re.compile(r"[\w.]+:[\w.]+")


@dataclasses.dataclass(frozen=True)
class Plugin:
    """An installed plugin, loaded or not.

    Attributes:
        name: the name of its entry point.
        distribution: the installed package that it comes from.
        version: the version of that package.
        components: kind -> names of those of its components that can be used.
        refused: (kind, name) -> reason, for components that another plugin also registers.
        error: why it failed to load; None if it did not fail.
    """

    name: str
    distribution: str
    version: str
    components: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    refused: Mapping[tuple[str, str], str] = dataclasses.field(default_factory=dict)
    error: BaseException | None = None

    @property
    def problem(self) -> str:
        """The first line of the error; "" for none."""
        return summary(self.error) if self.error else ""


@dataclasses.dataclass(frozen=True)
class Component:
    """The origin of a component: `reference` is "module:Class"."""

    kind: str
    name: str
    reference: str
    plugin: str
    distribution: str
    version: str


@functools.cache
def load() -> tuple[tuple[Plugin, ...], dict[tuple[str, str], Component]]:
    """Find all plugins and all components; a broken plugin is kept with its error, and breaks nothing else.

    A component whose name two plugins register cannot be used from either, and `find` says why.
    """
    loaded: list[tuple[Plugin, list[Component]]] = []
    for entry in sorted(metadata.entry_points(group=GROUP), key=lambda e: (e.name, e.value)):
        about = (entry.name, *_distribution(entry))
        try:
            with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints must not mix with a command's output
                components = [Component(kind, name, reference, *about) for kind, name, reference in _registered(entry)]
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything; it is kept and shown
            loaded.append((Plugin(*about, error=error), []))
        else:
            loaded.append((Plugin(*about), components))
    return _settle(loaded)


def names(kind: str) -> list[str]:
    """Return the names of all components of one kind, sorted."""
    return sorted(name for own_kind, name in load()[1] if own_kind == kind)


def component(kind: str, name: str) -> Component:
    """Find the origin of the component of this kind and name, without importing its module.

    Raises:
        MmstreamError: there is none, or two plugins register it; the message names those that exist, and broken
            plugins.
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


@overload
def find(kind: Literal["encoder"], name: str) -> type[Encoder]: ...
@overload
def find(kind: Literal["fusion"], name: str) -> type[Fusion]: ...
@overload
def find(kind: Literal["head"], name: str) -> type[Head]: ...
@overload
def find(kind: Literal["objective"], name: str) -> type[Objective]: ...
@overload
def find(kind: str, name: str) -> type: ...
def find(kind: str, name: str) -> type:
    """Import the class of the component of this kind and name.

    Raises:
        MmstreamError: no installed plugin has it, or its module cannot be imported.
    """
    about = component(kind, name)
    whose = f"the {kind} {name!r} of {about.distribution} {about.version}"
    try:
        cls = pkgutil.resolve_name(about.reference)
    except (Exception, SystemExit) as error:
        raise MmstreamError(f"{whose} cannot be imported from {about.reference!r}: {summary(error)}") from error
    if not inspect.isclass(cls):
        raise MmstreamError(f"{whose} is not a class: {about.reference!r} is of type {type(cls).__name__!r}")
    return cls


def summary(error: BaseException, *, name: bool = True) -> str:
    """Return the first line of an error, after the name of its class unless `name` is false.

    >>> summary(ImportError("no such module\\n(and more)"))
    'ImportError: no such module'
    >>> summary(SystemExit())
    'SystemExit'
    """
    said = describe(error).splitlines()[0].strip()
    kind = type(error).__name__
    return said if said == kind or not name else f"{kind}: {said}"


def _registered(entry: metadata.EntryPoint) -> Iterator[tuple[str, str, str]]:
    """Check a plugin's hooks, and yield the kind, name and reference of each component that it registers."""
    if entry.dist is not None:
        _check_requires(entry.dist)
    for hook, function in _hooks(entry.load()):
        registered: Any = function()
        if not isinstance(registered, Mapping):
            raise TypeError(f"{hook} returns {registered!r:.80}; expected a dict such as {{'name': 'module:Class'}}")
        for name, reference in registered.items():
            if not isinstance(name, str) or not name:
                raise TypeError(f"{hook} returns the name {name!r:.80}; expected text")
            if not isinstance(reference, str) or not _REFERENCE.fullmatch(reference):
                raise TypeError(f"{hook} returns {name!r}: {reference!r:.80}; expected text such as 'module:Class'")
            yield _HOOKS[hook], name, reference


def _hooks(module: Any) -> list[tuple[str, Any]]:
    """Return the hooks that a plugin implements."""
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
        raise LookupError(f"it implements no hook. {choices('', _HOOKS)}")
    return [(name, one.function) for name, hook in callers.items() for one in hook.get_hookimpls()]


def _settle(
    loaded: list[tuple[Plugin, list[Component]]],
) -> tuple[tuple[Plugin, ...], dict[tuple[str, str], Component]]:
    """Return the plugins, each with its usable components, and the components that only one plugin registers."""
    claims: dict[tuple[str, str], list[Component]] = {}
    for _, components in loaded:
        for each in components:
            claims.setdefault((each.kind, each.name), []).append(each)
    unique = {key: claimed[0] for key, claimed in sorted(claims.items()) if len(claimed) == 1}
    refused = {}
    for (kind, name), claimed in sorted(claims.items()):
        if len(claimed) > 1:
            who = " and by ".join(f"{each.plugin!r} ({each.distribution} {each.version})" for each in claimed)
            advice = "neither is used; uninstall one, or rename its component"
            refused[kind, name] = f"the {kind} {name!r} is registered by {who}: {advice}"
    plugins = []
    for plugin, components in loaded:
        own = sorted((each.kind, each.name) for each in components)
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
    """Return the name and version of an entry point's package; "unknown" if it does not say."""
    about: Any = entry.dist.metadata if entry.dist is not None else {}
    return str(about.get("Name") or "unknown"), str(about.get("Version") or "unknown")


def _check_requires(dist: metadata.Distribution) -> None:
    """Refuse a plugin that requires another version of mmstream, before its code runs."""
    for text in dist.requires or ():
        need = packaging.requirements.Requirement(text)
        if packaging.utils.canonicalize_name(need.name) != "mmstream":
            continue
        have = metadata.version("mmstream")
        applies = need.marker is None or need.marker.evaluate({"extra": ""})
        if applies and not need.specifier.contains(have, prereleases=True):
            raise ImportError(f"{dist.name} {dist.version} needs mmstream{need.specifier}, but {have} is installed")
