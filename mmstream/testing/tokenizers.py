"""The contract of a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mmstream.errors import MmstreamError
from mmstream.testing import fresh
from mmstream.testing.component import LightContract

TEXTS = ("a cat", "A cat and a dog sit on a mat.", "猫が好き", "é", "don't 🐈 \u200d", "a " * 300, "\x01")


class TokenizerContract(LightContract):
    """A tokenizer gives ids for any text, no more than are asked for, and the same in every process.

    A test sets only `name`. What needs its files is skipped where they are not installed.
    """

    kind = "tokenizer"

    @pytest.fixture(scope="class")
    @classmethod
    def files(cls) -> Mapping[str, bytes]:
        """Its files."""
        try:
            return dict(cls.build().files())
        except MmstreamError as error:
            pytest.skip(str(error))

    def opened(self, files: Mapping[str, bytes]) -> Any:
        """The tokenizer with its files."""
        tokenizer = self.build()
        tokenizer.open(files)
        return tokenizer

    def test_its_tensor_has_a_name_that_no_other_field_uses(self) -> None:
        component = self.component()
        assert component.tensor.isidentifier()
        assert component.tensor not in ("ids", "present", "tokens")
        assert component.longest > 2

    def test_every_text_has_ids_from_0_on_and_no_more_than_asked_for(self, files: Mapping[str, bytes]) -> None:
        tokenizer = self.opened(files)
        for text in TEXTS:
            for length in (2, 8, self.component().longest):
                ids = tokenizer.encode(text, length)
                assert 0 < len(ids) <= length
                assert all(type(number) is int and number >= 0 for number in ids)

    def test_a_text_that_is_cut_off_begins_and_ends_as_others_do(self, files: Mapping[str, bytes]) -> None:
        whole, cut = (self.opened(files).encode(TEXTS[1], length) for length in (self.component().longest, 4))
        assert cut == [*whole[:3], whole[-1]]

    def test_other_texts_have_other_ids(self, files: Mapping[str, bytes]) -> None:
        tokenizer = self.opened(files)
        assert len({tuple(tokenizer.encode(text, 32)) for text in TEXTS[:3]}) == 3

    def test_another_process_gives_the_same_ids(self, files: Mapping[str, bytes]) -> None:
        code = (
            "from mmstream.plugins.components import build; name, files, texts = given; "
            "tokenizer = build('tokenizer', name, {}); tokenizer.open(files); "
            "result = [tokenizer.encode(text, 32) for text in texts]"
        )
        tokenizer = self.opened(files)
        there = fresh.run_python(code, (self.name, dict(files), TEXTS))
        assert there == [tokenizer.encode(text, 32) for text in TEXTS]
