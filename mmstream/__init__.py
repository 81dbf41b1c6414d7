"""mmstream: a plugin-based streaming processor for multimodal records.

    model = mmstream.load("model")
    for row in model.label([{"image": "cat.png"}]):
        print(row)

Importing mmstream imports neither TensorFlow nor Beam; they are loaded when something needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmstream.api import evaluate, label_files, preprocess, train, tune
    from mmstream.config.loading import load_config
    from mmstream.errors import ConfigError, MmstreamError
    from mmstream.plugins.hookspecs import hookimpl
    from mmstream.records.record import DeadLetter, Record
    from mmstream.stages.model_handler import ModelHandler
    from mmstream.stages.pipelines import Label, Preprocess
    from mmstream.trained_model.artefact import TrainedModel, load

__all__ = [
    "ConfigError",
    "DeadLetter",
    "Label",
    "MmstreamError",
    "ModelHandler",
    "Preprocess",
    "Record",
    "TrainedModel",
    "evaluate",
    "hookimpl",
    "label_files",
    "load",
    "load_config",
    "preprocess",
    "train",
    "tune",
]

_HOME = {
    "ConfigError": "errors",
    "DeadLetter": "records.record",
    "Label": "stages.pipelines",
    "MmstreamError": "errors",
    "ModelHandler": "stages.model_handler",
    "Preprocess": "stages.pipelines",
    "Record": "records.record",
    "TrainedModel": "trained_model.artefact",
    "evaluate": "api",
    "hookimpl": "plugins.hookspecs",
    "label_files": "api",
    "load": "trained_model.artefact",
    "load_config": "config.loading",
    "preprocess": "api",
    "train": "api",
    "tune": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
