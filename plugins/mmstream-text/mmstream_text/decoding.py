"""Generate texts with a step of a language model: greedily, by beam search, or by sampling, each in one compiled loop.

A step is a function (tokens int32[N], state float[N, U]) → (logits float32[N, R], state), where R is the number of ids.
Ids that do not occur in texts (padding, unknown, start) are never chosen; a text ends with 3 (end), then zeros follow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from mmstream.interfaces import END, PADDING, START, UNKNOWN

NEVER = -1e9
"""A logit that stands for probability zero, whatever the precision of the logits."""

Step = Callable[[Any, Any], tuple[Any, Any]]


def likeliest(step: Step, state: Any, length: int, rows: int, *, noise: Callable[[Any], Any] | None = None) -> Any:
    """Generate texts by taking the likeliest token at each position (greedy decoding).

    Args:
        step: of the language model.
        state: at the start, float[B, U].
        length: L.
        rows: R.
        noise: (position int32[]) → float32[B, R], added to the logits before the choice; None for the likeliest.

    Returns:
        {"ids": int32[B, L], "score": float32[B]}, the geometric mean of the chosen tokens' probabilities.
    """
    forbidden = never(rows)
    positions = ops.arange(length, dtype="int32")
    zeros = ops.zeros_like(ops.cast(state[:, 0], "float32"))

    def go_on(position: Any, state: Any, ids: Any, token: Any, ended: Any, total: Any, count: Any) -> Any:
        return ops.logical_not(ops.all(ended))

    def body(position: Any, state: Any, ids: Any, token: Any, ended: Any, total: Any, count: Any) -> Any:
        logits, state = step(token, state)
        logits = logits + forbidden
        best = ops.cast(ops.argmax(logits if noise is None else logits + noise(position), axis=-1), "int32")
        chosen = ops.take_along_axis(ops.log_softmax(logits), ops.expand_dims(best, 1), axis=1)[:, 0]
        token = ops.where(ended, PADDING, best)
        ids = ops.where(positions == position, ops.expand_dims(token, 1), ids)
        total = ops.where(ended, total, total + chosen)
        count = ops.where(ended, count, count + 1.0)
        return position + 1, state, ids, token, ops.logical_or(ended, best == END), total, count

    start = ops.cast(zeros, "int32") + START
    ids = ops.expand_dims(ops.cast(zeros, "int32"), 1) + ops.zeros_like(positions)
    carry = (ops.zeros((), "int32"), state, ids, start, start != START, zeros, zeros)
    _, _, ids, _, _, total, count = ops.while_loop(go_on, body, carry, maximum_iterations=length)
    return {"ids": ids, "score": ops.exp(total / count)}


def beam_search(step: Step, state: Any, length: int, rows: int, beams: int) -> Any:
    """Generate texts by beam search, those whose tokens have the highest mean log-probability first.

    Args:
        step: of the language model, for B · `beams` texts, those of a record side by side.
        state: at the start, float[B · K, U], equal for the texts of a record.
        length: L.
        rows: R.
        beams: K, the width of the search.

    Returns:
        {"ids": int32[B, K, L], "score": float32[B, K]}, the geometric mean of each one's tokens' probabilities.

    Source: Wu et al., "Google's neural machine translation system" (2016), with a length penalty of 1.
    """
    forbidden = never(rows)
    positions = ops.arange(length, dtype="int32")
    units = state.shape[-1]
    zeros = ops.zeros_like(ops.cast(ops.reshape(state, (-1, beams, units))[:, :, 0], "float32"))  # [B, K]
    stays = np.full(rows, NEVER, np.float32)
    stays[PADDING] = 0.0  # only padding may follow an end

    def go_on(position: Any, state: Any, ids: Any, token: Any, ended: Any, total: Any, count: Any) -> Any:
        return ops.logical_not(ops.all(ended))

    def body(position: Any, state: Any, ids: Any, token: Any, ended: Any, total: Any, count: Any) -> Any:
        logits, state = step(ops.reshape(token, (-1,)), state)
        each = ops.reshape(ops.log_softmax(logits + forbidden), (-1, beams, rows))
        each = ops.where(ops.expand_dims(ended, -1), stays, each)
        totals = ops.expand_dims(total, -1) + each
        counts = ops.expand_dims(count + ops.cast(ops.logical_not(ended), "float32"), -1)
        means = ops.reshape(totals / counts, (-1, beams * rows))
        _, best = ops.top_k(means, beams)  # int32[B, K], of beam · R + token
        parent, token = best // rows, best % rows
        total = ops.take_along_axis(ops.reshape(totals, (-1, beams * rows)), best, axis=1)
        count = ops.take_along_axis(counts[:, :, 0], parent, axis=1)
        ended = ops.logical_or(ops.take_along_axis(ended, parent, axis=1), token == END)
        ids = ops.take_along_axis(ids, ops.expand_dims(parent, -1), axis=1)
        ids = ops.where(positions == position, ops.expand_dims(token, -1), ids)
        state = ops.take_along_axis(ops.reshape(state, (-1, beams, units)), ops.expand_dims(parent, -1), axis=1)
        return position + 1, ops.reshape(state, (-1, units)), ids, token, ended, total, count

    token = ops.cast(zeros, "int32") + START
    first = np.full((1, beams), NEVER, np.float32)
    first[0, 0] = 0.0  # all beams are equal before the first token: only one of them counts
    ids = ops.expand_dims(ops.cast(zeros, "int32"), -1) + ops.zeros_like(positions)
    carry = (ops.zeros((), "int32"), state, ids, token, token != START, zeros + first, zeros)
    _, _, ids, _, _, total, count = ops.while_loop(go_on, body, carry, maximum_iterations=length)
    return {"ids": ids, "score": ops.exp(total / ops.maximum(count, 1.0))}


def gumbel_noise(key: Any, rows: int, temperature: float, seed: int) -> Callable[[Any], Any]:
    """Noise that turns the choice of the likeliest token into sampling; equal keys get equal noise in any batch.

    Args:
        key: of each record, int32[B].
        rows: R.
        temperature: at 1, samples follow the model's probabilities; below, they are closer to the likeliest.
        seed: of the samples.

    Returns:
        (position int32[]) → float32[B, R].

    Source: the Gumbel-max trick of Maddison et al., "A* sampling" (2014), with hashed instead of random numbers: a
    random number generator would give a record different texts in different batches. Integers are hashed, as their bits
    are the same on every processor.
    """
    tokens = np.arange(rows, dtype=np.int32)[None]

    def noise(position: Any) -> Any:
        random = _hashed(_hashed(_hashed(key + seed % 2**31) + position)[:, None] + tokens)
        uniform = (ops.cast(_shifted(random, 9), "float32") + 0.5) / 2**23
        return -temperature * ops.log(-ops.log(uniform))

    return noise


def _hashed(number: Any) -> Any:
    """int32 → pseudo-random int32, by arithmetic modulo 2³².

    Source: C. Wellons' "hash prospector", its function lowbias32.
    """
    number = ops.bitwise_xor(number, _shifted(number, 16)) * np.int32(0x7FEB352D)
    number = ops.bitwise_xor(number, _shifted(number, 15)) * np.int32(0x846CA68B - 2**32)
    return ops.bitwise_xor(number, _shifted(number, 16))


def _shifted(number: Any, bits: int) -> Any:
    """int32 shifted to the right, filled with zeros."""
    return ops.bitwise_and(ops.right_shift(number, bits), 2 ** (32 - bits) - 1)


def never(rows: int) -> np.ndarray:
    """float32[R], to be added to logits: ids that do not occur in texts get probability zero."""
    offset = np.zeros(rows, np.float32)
    offset[[PADDING, UNKNOWN, START]] = NEVER
    return offset
