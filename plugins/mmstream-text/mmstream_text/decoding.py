"""From a step of a language model to whole texts: greedy, by beam search, or by sampling; each as one compiled loop.

A step is a function (tokens int32[N], state float[N, U]) → (logits float32[N, R], state), R being all ids that there
are. Ids that no text holds (padding, unknown, start) are never chosen; a text ends with 3 (end), and zeros follow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from mmstream.interfaces import END, PADDING, START, UNKNOWN

NEVER = -1e9
"""A logit that stands for probability zero, in any precision that logits have."""

Step = Callable[[Any, Any], tuple[Any, Any]]


def likeliest(step: Step, state: Any, length: int, rows: int, *, noise: Callable[[Any], Any] | None = None) -> Any:
    """Texts that take the likeliest token each time.

    Args:
        step: of the language model.
        state: at the start, float[B, U].
        length: L.
        rows: R.
        noise: (place int32[]) → float32[B, R], added to the logits before the choice; None for the likeliest.

    Returns:
        {"ids": int32[B, L], "score": float32[B]}, the geometric mean of the chosen tokens' probabilities.
    """
    unwritten = never(rows)
    places = ops.arange(length, dtype="int32")
    zeros = ops.zeros_like(ops.cast(state[:, 0], "float32"))

    def go_on(place: Any, state: Any, ids: Any, token: Any, ended: Any, total: Any, count: Any) -> Any:
        return ops.logical_not(ops.all(ended))

    def body(place: Any, state: Any, ids: Any, token: Any, ended: Any, total: Any, count: Any) -> Any:
        logits, state = step(token, state)
        logits = logits + unwritten
        best = ops.cast(ops.argmax(logits if noise is None else logits + noise(place), axis=-1), "int32")
        chosen = ops.take_along_axis(ops.log_softmax(logits), ops.expand_dims(best, 1), axis=1)[:, 0]
        token = ops.where(ended, PADDING, best)
        ids = ops.where(places == place, ops.expand_dims(token, 1), ids)
        total = ops.where(ended, total, total + chosen)
        count = ops.where(ended, count, count + 1.0)
        return place + 1, state, ids, token, ops.logical_or(ended, best == END), total, count

    start = ops.cast(zeros, "int32") + START
    ids = ops.expand_dims(ops.cast(zeros, "int32"), 1) + ops.zeros_like(places)
    carry = (ops.zeros((), "int32"), state, ids, start, start != START, zeros, zeros)
    _, _, ids, _, _, total, count = ops.while_loop(go_on, body, carry, maximum_iterations=length)
    return {"ids": ids, "score": ops.exp(total / count)}


def beam_search(step: Step, state: Any, length: int, rows: int, beams: int) -> Any:
    """Several texts that are followed side by side, those whose tokens are likeliest in the mean first.

    Args:
        step: of the language model, for B · `beams` texts, those of a record side by side.
        state: at the start, float[B · K, U], those of a record being equal.
        length: L.
        rows: R.
        beams: K, how many are followed.

    Returns:
        {"ids": int32[B, K, L], "score": float32[B, K]}, the geometric mean of each one's tokens' probabilities.

    Source: Wu et al., "Google's neural machine translation system" (2016), its length penalty being 1.
    """
    unwritten = never(rows)
    places = ops.arange(length, dtype="int32")
    units = state.shape[-1]
    zeros = ops.zeros_like(ops.cast(ops.reshape(state, (-1, beams, units))[:, :, 0], "float32"))  # [B, K]
    stays = np.full(rows, NEVER, np.float32)
    stays[PADDING] = 0.0  # all that may follow an end

    def go_on(place: Any, state: Any, ids: Any, token: Any, ended: Any, total: Any, count: Any) -> Any:
        return ops.logical_not(ops.all(ended))

    def body(place: Any, state: Any, ids: Any, token: Any, ended: Any, total: Any, count: Any) -> Any:
        logits, state = step(ops.reshape(token, (-1,)), state)
        each = ops.reshape(ops.log_softmax(logits + unwritten), (-1, beams, rows))
        each = ops.where(ops.expand_dims(ended, -1), stays, each)
        totals = ops.expand_dims(total, -1) + each
        counts = ops.expand_dims(count + ops.cast(ops.logical_not(ended), "float32"), -1)
        means = ops.reshape(totals / counts, (-1, beams * rows))
        _, found = ops.top_k(means, beams)  # int32[B, K], of beam · R + token
        parent, token = found // rows, found % rows
        total = ops.take_along_axis(ops.reshape(totals, (-1, beams * rows)), found, axis=1)
        count = ops.take_along_axis(counts[:, :, 0], parent, axis=1)
        ended = ops.logical_or(ops.take_along_axis(ended, parent, axis=1), token == END)
        ids = ops.take_along_axis(ids, ops.expand_dims(parent, -1), axis=1)
        ids = ops.where(places == place, ops.expand_dims(token, -1), ids)
        state = ops.take_along_axis(ops.reshape(state, (-1, beams, units)), ops.expand_dims(parent, -1), axis=1)
        return place + 1, ops.reshape(state, (-1, units)), ids, token, ended, total, count

    token = ops.cast(zeros, "int32") + START
    first = np.full((1, beams), NEVER, np.float32)
    first[0, 0] = 0.0  # all beams are equal before the first token: only one of them counts
    ids = ops.expand_dims(ops.cast(zeros, "int32"), -1) + ops.zeros_like(places)
    carry = (ops.zeros((), "int32"), state, ids, token, token != START, zeros + first, zeros)
    _, _, ids, _, _, total, count = ops.while_loop(go_on, body, carry, maximum_iterations=length)
    return {"ids": ids, "score": ops.exp(total / ops.maximum(count, 1.0))}


def gumbel_noise(key: Any, rows: int, temperature: float, seed: int) -> Callable[[Any], Any]:
    """Noise that makes the likeliest token a sample at some temperature; the same for equal keys, in any batch.

    Args:
        key: of each record, int32[B].
        rows: R.
        temperature: 1 samples as the model says, less is closer to the likeliest.
        seed: another gives other samples.

    Returns:
        (place int32[]) → float32[B, R].

    Source: the Gumbel-max trick of Maddison et al., "A* sampling" (2014), on hashed instead of drawn numbers: a random
    number generator would give a record another text in another batch. Whole numbers are hashed, whose bits are the
    same however a processor computes.
    """
    tokens = np.arange(rows, dtype=np.int32)[None]

    def noise(place: Any) -> Any:
        random = _hashed(_hashed(_hashed(key + seed % 2**31) + place)[:, None] + tokens)
        uniform = (ops.cast(_shifted(random, 9), "float32") + 0.5) / 2**23
        return -temperature * ops.log(-ops.log(uniform))

    return noise


def _hashed(number: Any) -> Any:
    """int32 → int32 that looks random, with what overflows cut off.

    Source: C. Wellons' "hash prospector", its function lowbias32.
    """
    number = ops.bitwise_xor(number, _shifted(number, 16)) * np.int32(0x7FEB352D)
    number = ops.bitwise_xor(number, _shifted(number, 15)) * np.int32(0x846CA68B - 2**32)
    return ops.bitwise_xor(number, _shifted(number, 16))


def _shifted(number: Any, bits: int) -> Any:
    """int32 to the right, zeros coming in."""
    return ops.bitwise_and(ops.right_shift(number, bits), 2 ** (32 - bits) - 1)


def never(rows: int) -> np.ndarray:
    """float32[R], to be added to logits: ids that no text holds get probability zero."""
    added = np.zeros(rows, np.float32)
    added[[PADDING, UNKNOWN, START]] = NEVER
    return added
