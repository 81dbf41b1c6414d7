"""A plugin of components with one fault each, beside sound ones: what `mmstream.testing` must tell apart."""

from __future__ import annotations

from mmstream.plugins.hookspecs import hookimpl


def references(module: str, *names: str) -> dict[str, str]:
    return {
        "".join(f"_{c.lower()}" if c.isupper() else c for c in name)[1:]: f"{__name__}.{module}:{name}"
        for name in names
    }


@hookimpl
def register_encoders() -> dict[str, str]:
    return references("network", "Sound", "Forgetful", "Unnamed", "Mingling", "Overlong", "Narrow", "Stranger")


@hookimpl
def register_fusions() -> dict[str, str]:
    return references("network", "SoundFusion", "LeakyFusion", "UnmaskedFusion", "EmptyFusion")


@hookimpl
def register_heads() -> dict[str, str]:
    return references("network", "SoundHead", "EagerHead", "HalfHead", "InfiniteHead", "NumpyHead")


@hookimpl
def register_objectives() -> dict[str, str]:
    return references("network", "SoundObjective", "DividingObjective", "BuiltLateObjective")


@hookimpl
def register_fields() -> dict[str, str]:
    return references(
        "data",
        *("SoundField", "KeyErrorField", "HeavyField", "RestlessField", "UnpicklableField"),
        *("UnevenlyHashedField", "OversizeField", "MiscountingField"),
    )


@hookimpl
def register_sources() -> dict[str, str]:
    return references("data", "SoundSource", "ForgettingSource", "MiscountingSource")


@hookimpl
def register_sinks() -> dict[str, str]:
    return references("data", "SoundSink", "CountingSink", "HashingSink", "LossySink")


@hookimpl
def register_tokenizers() -> dict[str, str]:
    return references("data", "SoundTokenizer", "EndlessTokenizer", "HashingTokenizer")
