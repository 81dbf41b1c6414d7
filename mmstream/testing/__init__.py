"""The contract kit: the rules that every component must follow, as classes that its test inherits. Needs pytest.

A component's test is data only:

    from mmstream.testing import EncoderContract

    class TestGru(EncoderContract):
        name = "gru"
        parameters = {"units": 8}
        field = "text"
        field_parameters = {"length": 6}
        vocabulary = (" cat", " dog")

The component is looked up by its name, so the plugin must be installed (`pip install -e .`) and its entry point is
tested, too. There is one contract for each kind of component, and two for sources:

    FieldContract SourceContract SinkContract       light: nothing heavy is imported for them
    TokenizerContract                               light, too
    StreamContract PublisherContract                light, too: a source that reads no files, and a publisher
    EncoderContract FusionContract HeadContract     parts of a network, saved and reloaded in a fresh process
    ObjectiveContract

The contracts of parts of a network run on the backend that Keras uses: TensorFlow or, with KERAS_BACKEND=jax, JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mmstream.testing.encoders import EncoderContract
    from mmstream.testing.fields import FieldContract
    from mmstream.testing.fusions import FusionContract
    from mmstream.testing.heads import HeadContract
    from mmstream.testing.objectives import ObjectiveContract
    from mmstream.testing.sinks import SinkContract
    from mmstream.testing.sources import SourceContract
    from mmstream.testing.streams import PublisherContract, StreamContract
    from mmstream.testing.tokenizers import TokenizerContract

__all__ = [
    "EncoderContract",
    "FieldContract",
    "FusionContract",
    "HeadContract",
    "ObjectiveContract",
    "PublisherContract",
    "SinkContract",
    "SourceContract",
    "StreamContract",
    "TokenizerContract",
]

_HOME = {
    "EncoderContract": "encoders",
    "FieldContract": "fields",
    "FusionContract": "fusions",
    "HeadContract": "heads",
    "ObjectiveContract": "objectives",
    "PublisherContract": "streams",
    "SinkContract": "sinks",
    "SourceContract": "sources",
    "StreamContract": "streams",
    "TokenizerContract": "tokenizers",
}

# A failed assertion then shows both sides, as in a test module.
pytest.register_assert_rewrite(*(f"{__name__}.{module}" for module in {"component", "network", *_HOME.values()}))


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
