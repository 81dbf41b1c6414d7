"""Writing tensors to TFRecord shards, and reading shards as the batches that training needs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mmstream.errors import MmstreamError
from mmstream.interfaces import Field, Spec
from mmstream.preprocessing.preprocessor import PRESENT, Tensors
from mmstream.storage import files

_COMPRESSION_LEVEL = 1  # zlib's fastest: higher levels save a tenth of the space for three times the time
_KEPT_BYTES = 512 * 1024 * 1024
PARSED_AT_ONCE = 64
"""How many examples are parsed together."""

Draws = Callable[[Any], Any]
"""A batch of serialised examples → float64[B], how often each is to be drawn in an epoch; TensorFlow code."""


class ExampleWriter:
    """Writes one shard, a gzipped TFRecord file of tf.train.Example; equal examples give equal bytes."""

    def __init__(self, path: Path) -> None:
        import tensorflow as tf

        path.parent.mkdir(parents=True, exist_ok=True)
        options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=_COMPRESSION_LEVEL)
        self._writer = tf.io.TFRecordWriter(str(path), options)
        self.path = path
        self.count = 0

    def write(self, example: bytes) -> None:
        """Append one example that `serialise` made."""
        self._writer.write(example)
        self.count += 1

    def __enter__(self) -> ExampleWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()


def serialise(tensors: Tensors, row: int, told: Mapping[str, str]) -> bytes:
    """Serialise one row of a batch as a tf.train.Example.

    Each tensor is the feature "<field>/<tensor>": uint8 as raw bytes, int64 and float32 as lists.

    Args:
        tensors: the tensors of the batch.
        row: the number of the row.
        told: texts to keep with the tensors: `_id`, `_origin`, `_digest`; "_text/<field>" for text fields, and
            "_given/<field>", the result of `Field.given` as JSON, for others.
    """
    import tensorflow as tf

    example = tf.train.Example()
    _add(example.features.feature, tensors, row)
    for name, text in told.items():
        example.features.feature[name].bytes_list.value.append(text.encode("utf-8", "surrogateescape"))
    return bytes(example.SerializeToString(deterministic=True))


def with_tensors(serialised: bytes, tensors: Tensors, row: int, without: Iterable[str]) -> bytes:
    """A serialised example with other tensors.

    Args:
        serialised: the example.
        tensors: tensors of a batch, one row of which is added.
        row: the number of the row.
        without: what is removed first, such as "image/pixels".
    """
    import tensorflow as tf

    example = tf.train.Example.FromString(serialised)
    for name in without:
        example.features.feature.pop(name, None)
    _add(example.features.feature, tensors, row)
    return bytes(example.SerializeToString(deterministic=True))


def _add(features: Any, tensors: Tensors, row: int) -> None:
    for field, arrays in tensors.items():
        for name, array in arrays.items():
            feature = features[f"{field}/{name}"]
            if array.dtype == np.uint8:
                feature.bytes_list.value.append(array[row].tobytes())
            elif array.dtype == np.int64:
                feature.int64_list.value.extend(array[row].reshape(-1).tolist())
            else:
                feature.float_list.value.extend(array[row].reshape(-1).tolist())


def read_examples(shards: Sequence[str]) -> Any:
    """A tf.data.Dataset of serialised examples, in order."""
    import tensorflow as tf

    return tf.data.TFRecordDataset(list(shards), compression_type="GZIP", num_parallel_reads=None)


def parse(serialised: Any, specs: Mapping[str, Spec]) -> dict[str, Any]:
    """Parse serialised examples, one or a batch of them, to {field: {tensor: tf.Tensor}}; TensorFlow code."""
    import tensorflow as tf

    features: dict[str, Any] = {}
    for field, spec in specs.items():
        for name, (shape, dtype) in spec.items():
            raw = dtype == "uint8"
            features[f"{field}/{name}"] = tf.io.FixedLenFeature([] if raw else shape, tf.string if raw else dtype)
    parsed = tf.io.parse_example(serialised, features)
    tensors: dict[str, Any] = {}
    for field, spec in specs.items():
        tensors[field] = {}
        for name, (shape, dtype) in spec.items():
            value = parsed[f"{field}/{name}"]
            if dtype == "uint8":
                value = tf.io.decode_raw(value, tf.uint8, fixed_length=None)
                value = tf.reshape(value, tf.concat([tf.shape(serialised), shape], 0))
                value = tf.ensure_shape(value, [*serialised.shape, *shape])
            tensors[field][name] = value
    return tensors


def parse_texts(serialised: Any, names: Iterable[str]) -> dict[str, Any]:
    """The texts in a batch of examples, such as "_id" or "_text/caption"; "" if an example has none."""
    import tensorflow as tf

    return tf.io.parse_example(serialised, {name: tf.io.FixedLenFeature([], tf.string, "") for name in names})


def told(serialised: Any, names: Sequence[str]) -> list[list[str]]:
    """The texts in a batch of examples, a list for each name."""
    tensors = parse_texts(serialised, names)
    return [[value.decode("utf-8", "surrogateescape") for value in tensors[name].numpy()] for name in names]


def given(serialised: Any, fields: Sequence[str]) -> dict[str, np.ndarray]:
    """{field: object[B]}: the values that the records of a batch were given, texts as they are; None if absent."""
    texts, values = (told(serialised, [f"{kind}/{field}" for field in fields]) for kind in ("_text", "_given"))
    return {name: as_given(*columns) for name, *columns in zip(fields, texts, values, strict=True)}


def as_given(texts: Sequence[str], values: Sequence[str]) -> np.ndarray:
    """object[N]: the text of each record, or else its value from JSON; None if it has neither."""
    column = np.full(len(texts), None, object)
    for row, (text, value) in enumerate(zip(texts, values, strict=True)):
        if text or value:
            column[row] = text or json.loads(value)
    return column


def texts(shards: Sequence[str], fields: Sequence[str]) -> dict[str, set[str]]:
    """The distinct texts of some text fields in some shards."""
    different: dict[str, set[str]] = {field: set() for field in fields}
    for batch in read_examples(shards).batch(PARSED_AT_ONCE):
        for field, values in zip(fields, told(batch, [f"_text/{field}" for field in fields]), strict=True):
            different[field].update(values)
    return {field: values - {""} for field, values in different.items()}


def shards_of(examples: str, split: str) -> list[str]:
    """The shards of one split below an output of `mmstream preprocess`, sorted.

    Raises:
        MmstreamError: the directory holds no such shards.
    """
    folder = files.join(examples, "examples", split)
    shards = sorted(files.list_files(folder)) if files.exists(folder) else []
    if not shards:
        raise MmstreamError(f"{examples} holds no examples of the split {split!r}; did `mmstream preprocess` finish?")
    return [files.join(folder, shard) for shard in shards]


def has_shards(examples: str, split: str) -> bool:
    """Whether an output of `mmstream preprocess` holds shards of a split."""
    folder = files.join(examples, "examples", split)
    return files.exists(folder) and next(iter(files.list_files(folder)), None) is not None


def has_records(examples: str, split: str) -> bool:
    """Whether an output of `mmstream preprocess` holds any record of a split."""
    if not has_shards(examples, split):
        return False
    return next(iter(read_examples(shards_of(examples, split))), None) is not None


def training_batches(
    shards: Sequence[str],
    specs: Mapping[str, Spec],
    fields: Mapping[str, Field],
    *,
    batch_size: int,
    seed: int,
    count: int,
    draws: Draws | None = None,
) -> Any:
    """Shuffled, augmented batches of {field: {tensor: [B, …]}}, in a new order and augmented anew each epoch.

    Examples are shuffled in a buffer of 512 MiB. If all of them fit, they stay there, and only the first epoch reads
    the shards.

    Args:
        shards: the shards of the training split.
        specs: the specs of the tensors to read.
        fields: the fields, whose `augment` is applied.
        batch_size: B; a last batch that is not full is left out of its epoch.
        seed: equal seeds give equal batches.
        count: examples in the shards.
        draws: how often an epoch draws each example, instead of once.
    """
    import tensorflow as tf

    buffer = max(min(count, fitting(specs)), 1)

    def augment(tensors: dict[str, Any], seeds: Any) -> dict[str, Any]:
        batch = {}
        for index, (name, spec) in enumerate(sorted(specs.items())):
            values = {key: value for key, value in tensors[name].items() if key != PRESENT}
            if fields[name].augments:
                values = fields[name].augment(values, tf.cast(seeds, tf.int32) + tf.constant([0, index], tf.int32))
            batch[name] = {key: tf.ensure_shape(value, spec[key].shape) for key, value in values.items()}
            batch[name][PRESENT] = tensors[name][PRESENT]
        return batch

    data = batches(shards, specs, PARSED_AT_ONCE, draws).unbatch()
    data = data.cache() if buffer == count else data
    data = data if draws is None else _drawn(data, seed)
    data = data.shuffle(buffer, seed=seed, reshuffle_each_iteration=True)
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2, drop_remainder=True)
    data = tf.data.Dataset.zip(data, seeds).map(augment, num_parallel_calls=tf.data.AUTOTUNE)
    data = data.batch(batch_size, drop_remainder=count >= batch_size).prefetch(tf.data.AUTOTUNE)
    return without_autotuning(data)


def fitting(specs: Mapping[str, Spec]) -> int:
    """How many examples with these tensors stay in memory in training: as many as fit into 512 MiB for each split."""
    sizes = (int(np.prod(shape)) * np.dtype(kind).itemsize for spec in specs.values() for shape, kind in spec.values())
    return _KEPT_BYTES // max(sum(sizes), 1)


def batches(shards: Sequence[str], specs: Mapping[str, Spec], batch_size: int, draws: Draws | None = None) -> Any:
    """Batches of {field: {tensor: [B, …]}} in order, the last one possibly smaller; with `draws`, pairs of these and
    float64[B], how often each example is to be drawn.
    """
    import tensorflow as tf

    def read(rows: Any) -> Any:
        return parse(rows, specs) if draws is None else (parse(rows, specs), draws(rows))

    data = read_examples(shards).batch(batch_size)
    data = data.map(read, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    return without_autotuning(data)


def _drawn(data: Any, seed: int) -> Any:
    """Repeat each element as often as it is drawn: pairs of (element, expected number of draws) → elements.

    The number is rounded up or down at random, in each epoch anew, so that its mean is the expected number.
    """
    import tensorflow as tf

    def draw(pair: Any, random: Any) -> Any:
        element, expected = pair
        share = tf.cast(random, tf.float64) / 2**32  # the numbers of Dataset.random are below 2**32
        return tf.data.Dataset.from_tensors(element).repeat(tf.cast(tf.floor(expected + share), tf.int64))

    numbers = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    return tf.data.Dataset.zip(data, numbers).flat_map(draw)


def without_autotuning(data: Any) -> Any:
    """The dataset, working on as many elements at once as there are cores.

    With autotuning, an iterator that ends waits for the autotuning thread, which at times sleeps for half a minute.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return data.with_options(options)
