"""The contracts of a source that reads no files, and of a publisher; a plugin's own tests check what arrives."""

from __future__ import annotations

import pickle
from typing import ClassVar

import pytest

from mmstream.errors import MmstreamError
from mmstream.storage import files
from mmstream.testing.component import LightContract


class _Reaching(LightContract):
    """A component that is named by URIs of its own scheme.

    Attributes:
        unreachable: a valid URI of a server that does not answer.
    """

    unreachable: ClassVar[str]

    def test_says_of_which_scheme_its_uris_are(self) -> None:
        scheme = self.build().scheme
        assert files.is_remote(self.unreachable)
        assert self.unreachable.partition("://")[0] == scheme == scheme.lower()

    def test_can_be_pickled_before_it_has_connected(self) -> None:
        assert pickle.loads(pickle.dumps(self.build())).scheme == self.build().scheme


class StreamContract(_Reaching):
    """A source that reads no files reports a server that it cannot reach, and claims no files."""

    kind = "source"

    def test_claims_no_files(self) -> None:
        assert self.build().suffixes == ()
        assert not self.build().files_are_records

    def test_what_cannot_be_reached_is_an_error_for_the_user(self) -> None:
        with pytest.raises(MmstreamError):
            self.build().splits(self.unreachable)
        with pytest.raises(MmstreamError):
            self.build().streams(self.unreachable)


class PublisherContract(_Reaching):
    """A publisher reports a server that it cannot reach before anything is sent."""

    kind = "publisher"

    def test_what_cannot_be_reached_is_an_error_for_the_user(self) -> None:
        with pytest.raises(MmstreamError):
            self.build().open(self.unreachable)
