"""The interface of tokenizers, which divide texts into the pieces that pretrained encoders know."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import ClassVar


class Tokenizer(abc.ABC):
    """Divides texts into pieces. Its module imports neither TensorFlow nor Keras, and its constructor takes nothing.

    A field keeps the files with the examples and with the model, so that labelling needs no package but the plugin.
    """

    tensor: ClassVar[str]
    """The name of the tensor that a field makes of the pieces; an encoder that needs these pieces reads it."""
    longest: ClassVar[int]
    """The most pieces of a text that encoders of this vocabulary can read."""

    @abc.abstractmethod
    def files(self) -> dict[str, bytes]:
        """Return the files that hold its vocabulary, by name.

        Raises:
            MmstreamError: they are not installed.
        """

    @abc.abstractmethod
    def open(self, files: Mapping[str, bytes]) -> None:
        """Take the vocabulary from such files, before the first `encode`."""

    @abc.abstractmethod
    def encode(self, text: str, length: int) -> list[int]:
        """Return the ids of the pieces of a text, from 0 on, with those that mark its beginning and end.

        Args:
            text: the text.
            length: the most ids; what is beyond is cut off before the end is marked.
        """
