"""The artefact: network, fitted preprocessing, config, calibration, fingerprint and golden records in one directory.

MODEL/network.keras  config.yaml  transform/  golden/  model.json  history.csv  logs/
"""

from __future__ import annotations

import csv
import functools
import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from mmstream import files, golden, parts, plugins, terminal
from mmstream.concurrency import Workers
from mmstream.config import Config, parse_config
from mmstream.errors import MmstreamError, is_out_of_memory
from mmstream.interfaces import LabelType
from mmstream.labelling import label_records
from mmstream.media import Media
from mmstream.preprocessing import PRESENT, Preprocessor, Resume, Tensors
from mmstream.records import Record, strong_digest_of

_FORMAT = 3
_PIECES = {
    "weights": "the weights",
    "transform": "the fitted preprocessing (vocabularies, scaling)",
    "config": "the sections `fields` and `model` of the config",
    "calibration": "the calibration (thresholds)",
    "batch": "the batch size",
}
"""What a fingerprint is made of, beside versions."""
_CORE_DISTRIBUTIONS = ("mmstream", "keras", "tensorflow", "pillow")


class TrainedModel:
    """A trained model. Opening it is cheap; the network is loaded, and proven, when it is first needed.

    Args:
        path: the model's directory.
        embeddings: also give the embedding of each field and the fused vector.
        about: what model.json would say, while training has not written it yet.
        resume: what the digest of a record reads; None for what the config says.

    Attributes:
        batch: B, the number of rows that the network is given at a time.
        fingerprints: digests of the model's pieces, by piece, and the versions that are installed.
        fingerprint: one digest of all of these.

    Raises:
        MmstreamError: the directory is not a model, or is damaged.
    """

    def __init__(
        self,
        path: str,
        *,
        embeddings: bool = False,
        about: dict[str, Any] | None = None,
        resume: Resume | None = None,
    ) -> None:
        self.path = path
        self.embeddings = embeddings
        try:
            self.about = about or json.loads(files.read_bytes(files.join(path, "model.json")))
            self.config: Config = parse_config(files.read_bytes(files.join(path, "config.yaml")).decode())
        except (OSError, ValueError) as error:
            raise MmstreamError(f"{path} is not a model that `mmstream train` finished: {error}") from error
        if about is None and self.about.get("format") != _FORMAT:
            raise MmstreamError(f"{path} has format {self.about.get('format')!r}; this mmstream reads format {_FORMAT}")
        self.batch: int = self.about["batch"]
        self.calibration: dict[str, Any] = self.about["calibration"]
        if about is None:
            check_files(path, self.about)
            self._check_claims()
        self.heads: dict[str, Any] = self.about["heads"]
        self.fingerprints = {**self.about["fingerprints"], "versions": versions_of(self.config)}
        self.fingerprint = strong_digest_of(self.fingerprints)
        self.resume: Resume = resume or self.config.resume
        self._lock = threading.Lock()

    @functools.cached_property
    def preprocessor(self) -> Preprocessor:
        """Of the fields that the heads read (and, with `embeddings`, of all that are encoded)."""
        read = {field for head in self.heads.values() for field in head["reads"]}
        if self.embeddings or not read:
            read |= set(self.config.model.encoders)
        return Preprocessor(self.config.fields, files.join(self.path, "transform"), only=read, resume=self.resume)

    @functools.cached_property
    def schema(self) -> dict[str, LabelType]:
        """Columns of a label row, with their types."""
        columns: dict[str, LabelType] = {"id": "string"}
        for name, head in self.heads.items():
            columns[name] = head["label"]
            columns[f"{name}_score"] = head["score"]
            columns |= {f"{name}_match": "number"} if head["match"] else {}
        if self.embeddings:
            columns |= {f"embedding_{field}": "numbers" for field in sorted(self.config.model.encoders)}
            columns |= {"embedding": "numbers"} if self.about["fused"] else {}
        return {**columns, "_fingerprint": "string", "_digest": "string", "_origin": "string"}

    def prepare(self) -> None:
        """Load the network and check the golden records, once in a process.

        Raises:
            MmstreamError: it cannot be loaded, or the golden records do not come out as they did in training.
        """
        with self._lock:
            while "_loaded" not in self.__dict__:
                try:
                    self.__dict__["_loaded"] = self._load()
                except Exception as error:
                    if not is_out_of_memory(error) or self.batch == 1:
                        raise
                    self._halve_batch()

    def halve_batch(self, size: int) -> None:
        """Give the network half as many rows at a time as this size, which was too much for the memory."""
        with self._lock:
            if self.batch == size:  # no other thread has done so
                self._halve_batch()

    def predict(self, tensors: Tensors) -> dict[str, Any]:
        """Named outputs of one padded batch: numpy in and out, `self.batch` rows."""
        self.prepare()
        return self.__dict__["_loaded"](tensors)

    def rows(self, outputs: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
        """The first `count` rows of some outputs as label rows, without the columns that tell their origin.

        A head whose reading is absent gives None.
        """
        rows: list[dict[str, Any]] = [{} for _ in range(count)]
        for name in self.heads:
            predictions = {key: value[:count] for key, value in outputs["heads"][name].items()}
            decoded = self.head(name).decode(predictions, self.fitted(name), self.calibration[name])
            present = outputs[PRESENT][name]
            for row, (label, score), there in zip(rows, decoded, present, strict=False):
                row[name], row[f"{name}_score"] = (label, score) if there else (None, None)
            for row, match, there in zip(rows, predictions.get("match", ()), present, strict=False):
                row[f"{name}_match"] = float(match) if there and match else None
        for field, vectors in outputs.get("embeddings", {}).items():
            for row, vector in zip(rows, vectors, strict=False):
                row[f"embedding_{field}"] = vector.tolist()
        for row, vector in zip(rows, outputs.get("fused", ()), strict=False):
            row["embedding"] = vector.tolist()
        return rows

    def history(self) -> list[dict[str, float]]:
        """A row for each epoch of the training: "epoch" and all that was measured in it."""
        lines = files.read_bytes(files.join(self.path, "history.csv")).decode().splitlines()
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(lines)]

    def head(self, name: str) -> Any:
        """The layer of a head."""
        from mmstream.models.compose import head_of

        return head_of(self.network, name)

    def fitted(self, head: str) -> Any:
        """What the full pass learnt of the field that a head predicts."""
        return self.all_fields.fitted[self.heads[head]["target"]]

    @functools.cached_property
    def network(self) -> Any:
        """The whole inference network; only components that the config names are imported for it."""
        network = load_network(files.join(self.path, "network.keras"), self.config)
        if "golden" in self.about and digest_of_weights(network) != self.about["fingerprints"]["weights"]:
            raise MmstreamError(f"the fingerprint of the model {self.path} is not its own: the weights differ")
        return network

    @property
    def pruned(self) -> Any:
        """The part of the network that the labels (and, with `embeddings`, the embeddings) need, on the same layers."""
        from mmstream.models.compose import prune

        return prune(self.network, self.heads, self.preprocessor.fields, embeddings=self.embeddings)

    def verify(self) -> list[golden.Difference]:
        """Run the golden records through preprocessing and network, and compare with what training kept."""
        if "_loaded" in self.__dict__:
            return self._check(self.__dict__["_loaded"])
        return self._check(self._compile())

    def label(self, records: Iterable[Mapping[str, Any]], *, threads: int | None = None) -> Iterator[Any]:
        """Label rows of a dataset in Python, without Beam.

        Args:
            records: rows as dicts, {"image": "cat.png", "text": "…"}; media as paths from the current folder, or bytes.
                "id" names a record; without it, its number does.
            threads: that decode and predict; None for one a core.

        Yields:
            for each record, in order: a label row (dict), or the `DeadLetter` that says why there is none.
        """
        rows = (Record(str(row.get("id", n)), f"record {n}", row) for n, row in enumerate(records))
        media = Media(str(Path.cwd()), anywhere=True)
        with Workers(threads) as workers:
            for _, result in label_records(rows, self, media, workers=workers):
                yield result

    @functools.cached_property
    def all_fields(self) -> Preprocessor:
        """Of every field of the config, read by a head or not."""
        return Preprocessor(self.config.fields, files.join(self.path, "transform"))

    def _check_claims(self) -> None:
        """The fingerprint is of what the model holds; that of the weights is checked when they are loaded."""
        found = {
            "transform": digest_of_transform(self.about["checksums"]),
            "config": digest_of_config(self.config),
            "calibration": strong_digest_of(self.calibration),
            "batch": self.batch,
        }
        for piece, digest in found.items():
            if self.about["fingerprints"][piece] != digest:
                raise MmstreamError(f"the fingerprint of the model {self.path} is not its own: {_PIECES[piece]} differ")

    def _halve_batch(self) -> None:
        self.batch //= 2
        self.__dict__.pop("_loaded", None)
        terminal.say(f"warning: out of memory; from now on {self.batch} records at a time: last digits may differ")

    def _load(self) -> Any:
        step = self._compile()
        wrong = [difference for difference in self._check(step) if not difference.within]
        if wrong:
            lines = [f"  {d.name}: differs by {d.largest:.3g}, allowed {d.allowed:.3g}" for d in wrong]
            raise MmstreamError(
                f"the golden records of {self.path} do not come out here as they did in training, so its labels "
                "could not be trusted:\n" + "\n".join(lines) + f"\n{self._version_hint()}"
            )
        return step

    def _compile(self) -> Any:
        """The network as one function of one fixed batch shape."""
        import tensorflow as tf

        network = self.pruned
        signature = {
            name: {key: tf.TensorSpec((self.batch, *shape), dtype) for key, (shape, dtype) in spec.items()}
            for name, spec in self.preprocessor.specs.items()
        }

        step = tf.function(lambda tensors: in_float32(network(tensors, training=False)), input_signature=[signature])
        concrete = step.get_concrete_function()

        def call(tensors: Tensors) -> dict[str, Any]:
            inputs = tf.nest.map_structure(tf.constant, tensors)
            return tf.nest.map_structure(lambda tensor: tensor.numpy(), concrete(inputs))

        return call

    def _check(self, step: Any) -> list[golden.Difference]:
        records, expected = golden.read_golden(self.path), golden.read_expected(self.path)
        if "golden" not in self.about:  # in training, which is about to make them
            return []
        if len(records) != self.about["golden"] or bool(records) != bool(expected):
            raise MmstreamError(f"the golden records of {self.path} are not all there, so it cannot be proven")
        if not records:
            return []
        found = expected_arrays(self, records, golden.golden_media(self.path), step, expected)
        return golden.compare(expected, found)

    def _version_hint(self) -> str:
        changed = what_differs(self.about["fingerprints"], self.fingerprints)
        return f"Changed since training: {', '.join(changed)}." if changed else "No package version changed."


def load(path: str | Path, *, embeddings: bool = False) -> TrainedModel:
    """Open a model that `mmstream train` made."""
    return TrainedModel(os.fspath(path), embeddings=embeddings)


def load_network(path: str, config: Config) -> Any:
    """A saved network; imports the core's layers and the components of the config, and nothing else by name.

    Raises:
        MmstreamError: a component is not installed, or the file is damaged.
    """
    import keras

    from mmstream.models import layers, writing  # noqa: F401 - registers the core's layers with Keras

    for encoder in config.model.encoders.values():
        plugins.find("encoder", encoder.use)
    for head in config.model.heads.values():
        plugins.find("head", head.use)
    if config.model.fusion:
        plugins.find("fusion", config.model.fusion.use)
    if config.model.imputation:
        plugins.find("objective", config.model.imputation.use)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise MmstreamError(f"the network {path} cannot be loaded: {error}") from error


def expected_arrays(
    model: TrainedModel,
    records: Sequence[Record],
    media: Media,
    step: Any = None,
    kept: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Tensors and outputs of golden records by name, as "tensors/image/pixels" and "outputs/heads/group/logits".

    Ids that a forced head generated may flip on a near tie; its logits along the ids that training kept may not, so
    those are what is compared.

    Args:
        model: whose preprocessing and network they go through.
        records: golden records.
        media: where their media lie.
        step: the compiled network, {field: {tensor [B, …]}} → named outputs; the model's own by default.
        kept: what training kept; None in training itself.
    """
    from mmstream.models.compose import forced_readings

    preprocessor, batch, step = model.preprocessor, model.batch, step or model.predict
    found: dict[str, list[np.ndarray]] = {}
    readings = forced_readings(model.network, model.heads, preprocessor.fields)
    for start in range(0, len(records), batch):
        chunk = records[start : start + batch]
        tensors = preprocessor.tensors([preprocessor.decode(preprocessor.load(r, media).values) for r in chunk], batch)
        arrays = {f"tensors/{name}": value for name, value in golden.flatten(tensors)}
        arrays |= {f"outputs/{name}": value for name, value in golden.flatten(step(tensors))}
        for name, reading in (readings(tensors) if readings else {}).items():
            ids = arrays.pop(f"outputs/heads/{name}/ids")
            for key in ("score", "match"):
                arrays.pop(f"outputs/heads/{name}/{key}", None)
            key = f"outputs/heads/{name}/generated"
            if kept is not None:
                ids = np.zeros_like(ids)
                ids[: len(chunk)] = kept[key][start : start + len(chunk)]
            arrays[key] = ids
            forced = model.head(name)(reading, {"ids": ids, PRESENT: np.ones(batch, np.float32)})
            arrays[f"outputs/heads/{name}/logits"] = np.asarray(forced["logits"])
        for name, value in arrays.items():
            found.setdefault(name, []).append(value[: len(chunk)])
    return {name: np.concatenate(values) for name, values in found.items()}


def in_float32(outputs: Any) -> Any:
    """Outputs of a network of any precision with every float as float32; TensorFlow code."""
    import tensorflow as tf

    return tf.nest.map_structure(lambda t: tf.cast(t, tf.float32) if t.dtype.is_floating else t, outputs)


def versions_of(config: Config) -> dict[str, str]:
    """Versions of the distributions that a config's fields and network come from, and of what they run on."""
    used = {plugins.component("field", field.use) for field in config.fields.values()}
    used |= {plugins.component("encoder", encoder.use) for encoder in config.model.encoders.values()}
    used |= {plugins.component("head", head.use) for head in config.model.heads.values()}
    if config.model.fusion:
        used.add(plugins.component("fusion", config.model.fusion.use))
    if config.model.imputation:
        used.add(plugins.component("objective", config.model.imputation.use))
    versions = {component.distribution: component.version for component in used}
    for name in _CORE_DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return dict(sorted(versions.items()))


def digest_of_weights(network: Any) -> str:
    """A digest of a network's weights by their paths; states of random number generators do not count."""
    weights = {weight.path: weight for weight in network.weights if "seed_generator" not in weight.path}
    total = hashlib.sha256()
    for path in sorted(weights):
        total.update(path.encode())
        total.update(np.asarray(weights[path]).tobytes())
    return total.hexdigest()[:32]


def digest_of_transform(checksums: Mapping[str, str]) -> str:
    """A digest of a fitted transform by the checksums of a model's files."""
    files_of_it = {path: sha for path, sha in checksums.items() if path.startswith("transform/")}
    return strong_digest_of({path: sha for path, sha in files_of_it.items() if not path.endswith("fingerprint")})


def digest_of_config(config: Config) -> str:
    """A digest of the sections of a config that decide what a model says; keys left at their defaults do not count."""
    return strong_digest_of(config.model_dump(mode="json", include={"fields", "model"}, exclude_defaults=True))


def what_differs(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what two models differ, by their `fingerprints`: a line each."""
    found = [name for piece, name in _PIECES.items() if then.get(piece) != now.get(piece)]
    before, after = then.get("versions", {}), now.get("versions", {})
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            found.append(f"{name} {before.get(name, 'none')} → {after.get(name, 'none')}")
    return found


def write_model_json(path: str, about: Mapping[str, Any]) -> None:
    """Write the last file of a model, without which it does not count; it has the checksums of all others."""
    checksums = {name: files.checksum(files.join(path, name)) for name in _files_of(path)}
    parts.write_json(files.join(path, "model.json"), {**about, "format": _FORMAT, "checksums": checksums})


def check_files(path: str, about: Mapping[str, Any]) -> None:
    """The files of a model are what training wrote.

    Raises:
        MmstreamError: one differs, is missing, or is one too many.
    """
    wrote, there = about["checksums"], set(_files_of(path))
    if missing := sorted(wrote.keys() - there):
        raise MmstreamError(f"the model {path} is not whole: {', '.join(missing)} cannot be read")
    if more := sorted(there - wrote.keys()):
        raise MmstreamError(f"the model {path} holds {', '.join(more)}, which training did not write")
    for name in sorted(there):
        if files.checksum(files.join(path, name)) != wrote[name]:
            raise MmstreamError(f"{name} of the model {path} is not what training wrote: its checksum differs")


def _files_of(path: str) -> Iterator[str]:
    """The files that a model is made of, beside model.json."""
    yield from (
        name for name in ("network.keras", "config.yaml", "history.csv") if files.exists(files.join(path, name))
    )
    for folder in ("golden", "transform"):
        place = files.join(path, folder)
        yield from (f"{folder}/{name}" for name in files.list_files(place))
