"""The tokenizers of the pretrained encoders of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmstream.interfaces import Suggestion, Tokenizer
from mmstream_pretrained import sources

_LOOKED_AT = 200


class MiniLmTokenizer(Tokenizer):
    """WordPiece with the vocabulary of BERT for English without capitals: what the encoder `minilm` reads.

    Source: Devlin et al., "BERT: Pre-training of deep bidirectional transformers for language understanding" (2019).
    """

    tensor = "minilm_pieces"
    longest = 512

    def files(self) -> dict[str, bytes]:
        """The vocabulary in the format of the library tokenizers."""
        return {"tokenizer.json": sources.MINILM_TOKENIZER.read()}

    def open(self, files: Mapping[str, bytes]) -> None:
        """Take the vocabulary."""
        import tokenizers

        self._tokenizer: Any = tokenizers.Tokenizer.from_buffer(files["tokenizer.json"])
        self._tokenizer.no_padding()

    def encode(self, text: str, length: int) -> list[int]:
        """[CLS], the pieces, [SEP]."""
        return _cut_off(self._tokenizer.encode(text).ids, length)


class SentenceTokenizer(Tokenizer):
    """SentencePiece with a vocabulary of sixteen languages: what the encoder `multilingual_sentence` reads.

    Source: Kudo and Richardson, "SentencePiece: A simple and language independent subword tokenizer" (2018).
    """

    tensor = "sentence_pieces"
    longest = 1024

    def files(self) -> dict[str, bytes]:
        """The vocabulary in the format of the library sentencepiece."""
        return {"sp.model": sources.SENTENCE_TOKENIZER.read()}

    def open(self, files: Mapping[str, bytes]) -> None:
        """Take the vocabulary."""
        import sentencepiece

        self._processor: Any = sentencepiece.SentencePieceProcessor(model_proto=files["sp.model"])

    def encode(self, text: str, length: int) -> list[int]:
        """<s>, the pieces, </s>."""
        return _cut_off(self._processor.encode(text, out_type=int, add_bos=True, add_eos=True), length)


def _cut_off(ids: Sequence[int], length: int) -> list[int]:
    """The first ids of a text that is too long, and the last one, which marks its end."""
    return list(ids) if len(ids) <= length else [*ids[: length - 1], ids[-1]]


def suggestion(preset: str, tokenizer: Tokenizer, texts: Sequence[str], fit: float, most: int) -> Suggestion:
    """How a text field makes pieces of some texts, at a length that 19 of 20 of them do not exceed.

    Args:
        preset: the name of the tokenizer.
        tokenizer: the tokenizer.
        texts: a sample, not empty.
        fit: how well the encoder suits them.
        most: the most pieces.
    """
    tokenizer.open(tokenizer.files())
    some = texts[:: max(len(texts) // _LOOKED_AT, 1)]
    counts = sorted(len(tokenizer.encode(text, most)) for text in some)
    length = min(max(-(-counts[len(counts) * 19 // 20] // 16) * 16, 16), most)
    usual = counts[len(counts) // 2]
    why = f"the pieces that the pretrained encoder knows: about {usual} of a text, mostly up to {length}"
    return Suggestion(fit, {"tokens": {"preset": preset, "length": length}}, why)
