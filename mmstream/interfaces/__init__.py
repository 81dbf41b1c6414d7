"""The interfaces that plugins implement. Importing this module imports neither Keras, TensorFlow nor Beam.

Letters used in shapes in every docstring: B batch, T tokens, D the shared width (`model.width`), L text length, V
fitted values of a vocabulary.

Constructors: parameters before the `*` are passed by mmstream (the width, sizes that follow from the fitted data);
those after it are named in the config file and checked against their annotations:

    class Gru(keras.layers.Layer):
        def __init__(self, width: int, vocabulary_size: int, *, units: int = 128, **kwargs): ...
"""

from __future__ import annotations

from mmstream.interfaces.fields import Field
from mmstream.interfaces.layers import Backbone, Encoder, Fusion, Head, Objective, Reading
from mmstream.interfaces.outcomes import Classes, Numbers, Outcome, Texts
from mmstream.interfaces.rows import PassedOver, Row, Split
from mmstream.interfaces.similarity import SimilarityHash
from mmstream.interfaces.sources import Sink, Source
from mmstream.interfaces.streams import Message, Publisher, Stream
from mmstream.interfaces.suggestion import Suggestion
from mmstream.interfaces.tensors import END, PADDING, RESERVED_IDS, START, UNKNOWN, Fitted, LabelType, Spec, TensorSpec
from mmstream.interfaces.tokenizers import Tokenizer

__all__ = [
    "END",
    "PADDING",
    "RESERVED_IDS",
    "START",
    "UNKNOWN",
    "Backbone",
    "Classes",
    "Encoder",
    "Field",
    "Fitted",
    "Fusion",
    "Head",
    "LabelType",
    "Message",
    "Numbers",
    "Objective",
    "Outcome",
    "PassedOver",
    "Publisher",
    "Reading",
    "Row",
    "SimilarityHash",
    "Sink",
    "Source",
    "Spec",
    "Split",
    "Stream",
    "Suggestion",
    "TensorSpec",
    "Texts",
    "Tokenizer",
]
