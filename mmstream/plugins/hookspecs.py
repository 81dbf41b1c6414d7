"""All hooks of mmstream. A plugin implements the hooks that it needs.

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
    """Publishers, which send labels and dead letters to message brokers."""


@hookspec
def register_fields() -> dict[str, str]:  # type: ignore[empty-body]
    """Fields, which turn the values of columns into tensors."""


@hookspec
def register_tokenizers() -> dict[str, str]:  # type: ignore[empty-body]
    """Tokenizers, which divide texts into the pieces that pretrained encoders know."""


@hookspec
def register_encoders() -> dict[str, str]:  # type: ignore[empty-body]
    """Encoders, which turn a field's tensors into tokens of the shared width."""


@hookspec
def register_fusions() -> dict[str, str]:  # type: ignore[empty-body]
    """Fusions, which combine several fields into one vector."""


@hookspec
def register_heads() -> dict[str, str]:  # type: ignore[empty-body]
    """Heads, which each predict one target field."""


@hookspec
def register_objectives() -> dict[str, str]:  # type: ignore[empty-body]
    """Objectives, which are auxiliary losses between named tensors of the network."""
