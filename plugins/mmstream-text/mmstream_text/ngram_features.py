"""N-grams of texts with TF-IDF weights, in tensorflow-transform code."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_transform as tft

IDS, WEIGHTS, SPREADS, COUNT = "ngrams", "ngram_weights", "ngram_spreads", "ngram_count"
"""The tensors, and the statistic that says how many n-grams the vocabularies hold."""
_TOKENS, _CHARACTERS = (1, 2), (1, 2, 3)
"""How many tokens, and how many characters, an n-gram holds."""


class _Weighted(NamedTuple):
    """N-grams of the texts of a batch, each once for a text.

    Attributes:
        rows: int64[N], the text of each.
        ids: int64[N], its number in the vocabulary.
        weights: float32[N], its TF-IDF.
        spreads: float32[N], about the root mean square of the TF-IDF of this n-gram over all texts.
        count: float32 scalar, the size of the vocabulary.
    """

    rows: Any
    ids: Any
    weights: Any
    spreads: Any
    count: Any


def ngrams(tokens: Any, width: int, most: int, name: str) -> dict[str, Any]:
    """The n-grams of texts with their TF-IDF: of one or two tokens; and of one to three characters, blanks among them.

    Capitals are folded: a word that begins a sentence is the word that it is elsewhere. The two kinds have vocabularies
    of their own, and the weights of each kind have the norm 1 for a text. In scripts without spaces, tokens are single
    graphemes, so that both kinds consist of characters.

    Args:
        tokens: tf.RaggedTensor of strings [B, any], as `mmstream_text.tokens` gives them.
        width: M, the most n-grams of a text; those of the largest weight are kept.
        most: the most n-grams of each vocabulary, the most frequent ones of the training split.
        name: of the files of the vocabularies.

    Returns:
        {IDS: int64[B, M], numbers from 1 on, then 0; WEIGHTS and SPREADS: float32[B, M]; COUNT: float32[B, 1]}.
    """
    tokens = tokens.with_flat_values(tf.strings.lower(tokens.flat_values, encoding="utf-8"))
    characters = tf.strings.unicode_split(tf.strings.reduce_join(tokens, axis=1), "UTF-8")
    count = tokens.nrows()
    of_tokens = _weighted(tf.strings.ngrams(tokens, _TOKENS, separator=""), most, f"{name}.tokens", count)
    of_characters = _weighted(tf.strings.ngrams(characters, _CHARACTERS, separator=""), most, f"{name}.chars", count)
    rows = tf.concat([of_tokens.rows, of_characters.rows], 0)
    ids = tf.concat([of_tokens.ids, of_characters.ids + tf.cast(of_tokens.count, tf.int64)], 0)
    weights = tf.concat([of_tokens.weights, of_characters.weights], 0)
    spreads = tf.concat([of_tokens.spreads, of_characters.spreads], 0)
    order = tf.argsort(2 * tf.cast(rows, tf.float64) - tf.cast(weights, tf.float64), stable=True)
    lengths = tf.math.unsorted_segment_sum(tf.ones_like(rows), rows, count)

    def padded(values: Any) -> Any:
        # Checks would run while the texts are being analysed, when no weights are known yet.
        ordered = tf.RaggedTensor.from_row_lengths(tf.gather(values, order), lengths, validate=False)
        return ordered.to_tensor(tf.zeros((), values.dtype), shape=[None, width])

    size = tf.fill([count, 1], of_tokens.count + of_characters.count)
    return {IDS: padded(ids + 1), WEIGHTS: padded(weights), SPREADS: padded(spreads), COUNT: size}


def _weighted(grams: Any, most: int, name: str, count: Any) -> _Weighted:
    """TF-IDF: (1 + log of the count in the text) · idf, divided by the norm for the text.

    Source: Manning et al., "Introduction to information retrieval" (2008), section 6.4, ltc weights.

    Args:
        grams: tf.RaggedTensor of strings [B, any].
        most: the size of the vocabulary.
        name: of its file.
        count: B.
    """
    once = tf.ones_like(grams.flat_values, tf.float32)  # with weights, a batch is counted before it leaves TensorFlow
    found = tft.compute_and_apply_vocabulary(grams.to_sparse(), top_k=most, weights=once, vocab_filename=name)
    known = tf.sparse.retain(found, found.values >= 0)
    idf = tft.experimental.idf(known, most).values
    keys, places, times = tf.unique_with_counts(known.indices[:, 0] * most + known.values)
    rows = keys // most
    idf = tf.math.unsorted_segment_max(idf, places, tf.size(keys))
    weights = (1 + tf.math.log(tf.cast(times, tf.float32))) * idf
    spreads = idf * tf.exp((1 - idf) / 2)  # as idf = 1 + log(texts / texts with the n-gram)
    norms = tf.sqrt(tf.math.unsorted_segment_sum(tf.square(weights), rows, count))
    size = tf.cast(tft.experimental.get_vocabulary_size_by_name(name), tf.float32)
    return _Weighted(rows, keys % most, weights / tf.gather(norms, rows), spreads, size)
