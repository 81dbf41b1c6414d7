"""Every hook of mmstream. A plugin implements those it wants.

Each returns {name: "module:Class"}; a class is imported when a config first uses it.
"""

from __future__ import annotations

import pluggy

hookspec = pluggy.HookspecMarker("mmstream")
hookimpl = pluggy.HookimplMarker("mmstream")


@hookspec
def register_sources() -> dict[str, str]:  # type: ignore[empty-body]
    """Sources, which read records from files."""


@hookspec
def register_sinks() -> dict[str, str]:  # type: ignore[empty-body]
    """Sinks, which turn label rows into the bytes of a file and back."""


@hookspec
def register_publishers() -> dict[str, str]:  # type: ignore[empty-body]
    """Publishers, which send labels on to where others wait for them."""


@hookspec
def register_fields() -> dict[str, str]:  # type: ignore[empty-body]
    """Fields, which turn one column's values into tensors."""


@hookspec
def register_encoders() -> dict[str, str]:  # type: ignore[empty-body]
    """Encoders, which turn a field's tensors into tokens of the shared width."""


@hookspec
def register_fusions() -> dict[str, str]:  # type: ignore[empty-body]
    """Fusions, which join several fields into one vector."""


@hookspec
def register_heads() -> dict[str, str]:  # type: ignore[empty-body]
    """Heads, which predict one field from what they read."""


@hookspec
def register_objectives() -> dict[str, str]:  # type: ignore[empty-body]
    """Objectives, which are losses between named tensors of the network."""
