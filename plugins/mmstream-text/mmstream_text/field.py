"""The text field: words, syllables and signs of any script as ids of a fitted vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired

import annotated_types
from typing_extensions import TypedDict

from mmstream.errors import brief, choices
from mmstream.interfaces import (
    END,
    PADDING,
    RESERVED_IDS,
    UNKNOWN,
    Field,
    Fitted,
    Spec,
    Suggestion,
    TensorSpec,
    Tokenizer,
)
from mmstream.plugins import registry
from mmstream_text.similarity import TextHash
from mmstream_text.tokens import MAX_TOKENS, detokenise, normalise, tokenise

Count = Annotated[int, annotated_types.Ge(1)]
_LONGEST, _NGRAMS = 1_000, 20_000
"""The length, and the number of n-grams, that are suggested at most."""
_PIECES = 128
"""The most pieces of a text, unless `tokens` says otherwise."""
_BLANKS = " \t\n\v\f\r"
"""Blanks that TensorFlow strips, too."""


class Pieces(TypedDict):
    """The pieces of a pretrained encoder: `preset`, the tokenizer; and `length`, the most pieces of a text."""

    __pydantic_config__ = {"extra": "allow"}  # type: ignore[misc]  # the field names keys that it does not know

    preset: Annotated[str, annotated_types.MinLen(1)]
    length: NotRequired[Count]


class Text(Field):
    """Turns a text into `ids: int64[L]`: those of its tokens, then 3 (end) if there is room, then 0.

    With `ngrams`, also into `ngrams: int64[5 L + 64]`, `ngram_weights` and `ngram_spreads`, float32 of the same shape:
    the TF-IDF of its n-grams of tokens and of characters (see `mmstream_text.ngram_features`).

    Unknown tokens are 1. Tokens are words, or single graphemes in scripts without spaces (see `mmstream_text.tokens`);
    the vocabulary is that of the training split. A text without any token is absent.

    With `tokens`, also into the pieces that a pretrained encoder knows, such as `minilm_pieces: int64[N]`: 1 + their
    ids in its own vocabulary, then 0. There is no option for sub-words (BPE, SentencePiece) that are learnt from the
    data: they would have to be learnt before a text can be cut, but `decode` knows nothing that was learnt, and
    tensorflow-transform's graph can neither train nor apply them.

    Args:
        columns: columns whose texts are read as one, in that order, with a blank between them.
        length: L; longer texts are cut off. `mmstream preprocess` warns if a fifth of the training texts are longer,
            and `mmstream describe --examples` shows how much is lost.
        min_count: a token seen less often in training is unknown.
        max_vocabulary: the most tokens that are kept, the most frequent first.
        lowercase: fold capitals, for languages where they mean little.
        missing: texts that stand for a missing value, such as "NA".
        ngrams: the most n-grams of tokens, and as many of characters, that are kept, the most frequent first; None for
            no n-grams, which only the encoder `ngrams` reads.
        tokens: the tokenizer of a pretrained encoder, such as {preset: minilm}, and the most pieces N of a text, 128 by
            default, such as {preset: minilm, length: 64}.
    """

    encoded_by = "ngrams"
    predicted_by = "caption"
    descriptive = ("truncated",)
    similarity = TextHash()

    def __init__(
        self,
        *,
        columns: Annotated[list[str], annotated_types.MinLen(1)] | None = None,
        length: Count,
        min_count: Count = 1,
        max_vocabulary: Count = 20_000,
        lowercase: bool = False,
        missing: tuple[str, ...] = (),
        ngrams: Count | None = None,
        tokens: Pieces | None = None,
    ) -> None:
        self.several = columns is not None
        self.length = length
        self.min_count = min_count
        self.max_vocabulary = max_vocabulary
        self.lowercase = lowercase
        self.missing = frozenset(missing)
        self.ngrams = ngrams
        self._tokenizer: Tokenizer | None = None
        self._is_open = False
        if tokens is not None:
            for key in tokens.keys() - Pieces.__annotations__.keys():
                raise ValueError(f"tokens: unknown key {key!r}. {choices(key, Pieces.__annotations__)}")
            tokenizer: Any = registry.find("tokenizer", tokens["preset"])
            self._tokenizer = tokenizer()
            self.pieces = tokens.get("length", min(_PIECES, tokenizer.longest))
            if self.pieces > tokenizer.longest:
                raise ValueError(
                    f"tokens.length: {tokens['preset']!r} reads at most {tokenizer.longest} pieces of a text"
                )
        self.served: Literal["", "string"] = "" if tokens else "string"  # a graph cannot divide texts into pieces
        self.statistics = ("truncated", "ngram_count") if ngrams else ("truncated",)

    @classmethod
    def suggest(cls, values: Sequence[Any]) -> Suggestion | None:
        """Suggest the field for texts, at a length that 19 of 20 of them do not exceed."""
        if not all(isinstance(value, str) for value in values):
            return None
        if sum(value.isascii() and " " not in value.strip() for value in values) > 0.9 * len(values):
            return None  # names rather than texts
        texts = (value[:MAX_TOKENS].encode("utf-8", "ignore").decode() for value in values)
        counts = sorted(len(tokenise(normalise(text))) for text in texts)
        usual, most = counts[len(counts) // 2], counts[len(counts) * 19 // 20]
        if not most:
            return None
        length = min(max(-(-(most + 1) // 4) * 4, 4), _LONGEST)
        why = f"texts of about {usual} words or symbols, mostly up to {most}"
        return Suggestion(0.5, {"length": length}, why, read={"ngrams": _NGRAMS})

    def assets(self) -> dict[str, bytes]:
        """The files of the tokenizer."""
        return {} if self._tokenizer is None else self._tokenizer.files()

    def open_assets(self, assets: Mapping[str, bytes]) -> None:
        """Take the tokenizer's files from examples or a model."""
        if self._tokenizer is not None:
            self._tokenizer.open(assets)
            self._is_open = True

    def decode(self, value: Any) -> dict[str, Any] | None:
        """{"tokens": all tokens}, and the pieces if there is a tokenizer; None for a text without any token.

        Raises:
            TypeError: it is not a text.
            ValueError: it is not valid Unicode, or has more than 4,194,304 characters or 1,048,576 tokens.
        """
        texts = [item for item in value if item is not None] if self.several else [value]
        for item in texts:
            if not isinstance(item, str):
                raise TypeError(f"expected text; found {type(item).__name__}: {brief(item)}")
        text = normalise(" ".join(item for item in texts if item.strip(_BLANKS) not in self.missing))
        tokens = tokenise(normalise(text.lower()) if self.lowercase else text)
        return {"tokens": tokens, **self._pieces_of(text)} if tokens else None

    def _pieces_of(self, text: str) -> dict[str, list[int]]:
        if self._tokenizer is None:
            return {}
        if not self._is_open:
            self.open_assets(self.assets())
        return {self._tokenizer.tensor: [1 + piece for piece in self._tokenizer.encode(text, self.pieces)]}

    def text(self, decoded: Mapping[str, Any]) -> str:
        """The whole normalised text."""
        return detokenise(decoded["tokens"])

    def looked_up(self, decoded: Mapping[str, Any]) -> list[list[str]]:
        """The tokens."""
        return [decoded["tokens"]]

    def raw(self) -> dict[str, Literal["string", "float32", "int64"]]:
        """The tokens, and the pieces if there is a tokenizer."""
        pieces: dict[str, Literal["string", "float32", "int64"]] = {}
        if self._tokenizer is not None:
            pieces[self._tokenizer.tensor] = "int64"
        return {"tokens": "string", **pieces}

    def spec(self, fitted: Fitted) -> Spec:
        """{"ids": int64[L]}, and the n-grams if they are kept."""
        spec = {"ids": TensorSpec((self.length,), "int64")}
        if self.ngrams:
            shape = (_most_ngrams(self.length),)
            spec |= {
                "ngrams": TensorSpec(shape, "int64"),
                "ngram_weights": TensorSpec(shape, "float32"),
                "ngram_spreads": TensorSpec(shape, "float32"),
            }
        if self._tokenizer is not None:
            spec[self._tokenizer.tensor] = TensorSpec((self.pieces,), "int64")
        return spec

    def graph(self, raw: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Ids in the vocabulary of the training split; with `ngrams`, TF-IDF by the training split."""
        import tensorflow as tf
        import tensorflow_transform as tft

        found = tft.compute_and_apply_vocabulary(
            raw["tokens"],
            default_value=UNKNOWN - RESERVED_IDS,
            top_k=self.max_vocabulary,
            frequency_threshold=self.min_count if self.min_count > 1 else None,
            weights=tf.ones_like(
                raw["tokens"].values, tf.float32
            ),  # with weights, a batch is counted before it leaves TensorFlow
            vocab_filename=name,
        )
        ids = tf.RaggedTensor.from_sparse(found) + RESERVED_IDS
        there = tf.cast(ids.row_lengths() > 0, tf.int64)
        ends = tf.RaggedTensor.from_row_lengths(tf.fill([tf.reduce_sum(there)], tf.constant(END, tf.int64)), there)
        tensors = {"ids": tf.concat([ids, ends], axis=1).to_tensor(PADDING, shape=[None, self.length])}
        tensors["truncated"] = tf.repeat(_truncated(ids.row_lengths(), self.length), ids.nrows(), axis=0)
        if self._tokenizer is not None:
            pieces = tf.RaggedTensor.from_sparse(raw[self._tokenizer.tensor])
            tensors[self._tokenizer.tensor] = pieces.to_tensor(0, shape=[None, self.pieces])
        if self.ngrams:
            from mmstream_text.ngram_features import ngrams

            tokens = tf.RaggedTensor.from_sparse(raw["tokens"])[:, : self.length]
            tensors |= ngrams(tokens, _most_ngrams(self.length), self.ngrams, name)
        return tensors

    def truncated(self, fitted: Fitted) -> tuple[float, float] | None:
        """The share of the texts that are longer than `length`, and the share of all tokens that are cut off."""
        shares = fitted.statistics.get("truncated")
        return (shares[0], shares[1]) if shares else None

    def count_linear_features(self, fitted: Fitted) -> int:
        """As many as there are n-grams."""
        return int(fitted.statistics["ngram_count"][0]) if self.ngrams else 0

    def linear_features(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """The TF-IDF of a text."""
        return {"ids": tensors["ngrams"], "weights": tensors["ngram_weights"]}

    def serve(self, values: Any) -> dict[str, Any]:
        """The tokens of valid texts in the normal form C; others are an error in the graph."""
        import tensorflow as tf

        from mmstream_text.serving import tokens

        for text in sorted(self.missing):
            values = tf.where(tf.strings.strip(values) == text, "", values)
        texts = tf.strings.reduce_join(values, axis=1, separator=" ") if self.several else values
        return {"tokens": tokens(texts, lowercase=self.lowercase)}


def _truncated(counts: Any, length: int) -> Any:
    """float32[1, 2]: of the training split, the share of the texts that are longer, and of their tokens beyond that.

    Args:
        counts: tf.Tensor int64[B], how many tokens each text has.
        length: how many are kept.
    """
    import tensorflow as tf
    import tensorflow_transform as tft

    beyond = tf.maximum(counts - length, 0)
    each = [tf.minimum(counts, 1), tf.minimum(beyond, 1), counts, beyond]
    texts, longer, tokens, cut = tf.unstack(tft.sum(tf.stack(each, axis=1), reduce_instance_dims=False), num=4)
    shares = [longer / tf.maximum(texts, 1), cut / tf.maximum(tokens, 1)]
    return tf.expand_dims(tf.cast(tf.stack(shares), tf.float32), 0)


def _most_ngrams(length: int) -> int:
    """How many different n-grams of a text are kept: those of short words exceed the tokens many times."""
    return 5 * length + 64
