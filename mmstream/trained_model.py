"""The artefact: network, fitted preprocessing, config, calibration, fingerprint and golden records in one directory.

MODEL/network.keras  config.yaml  transform/  golden/  model.json  history.csv  logs/
"""

from __future__ import annotations

import csv
import functools
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from mmstream import files, golden, plugins, terminal
from mmstream.concurrency import Workers
from mmstream.config import Config, parse_config
from mmstream.errors import MmstreamError, describe, is_out_of_memory
from mmstream.interfaces import LabelType
from mmstream.labelling import label_records
from mmstream.media import Media
from mmstream.model_description import EARLIER_FORMAT, check_heads, read_description
from mmstream.model_files import ModelFiles, check_claims, check_files, fingerprints_of, what_differs
from mmstream.network_file import digest_of_weights, load_network
from mmstream.preprocessing import PRESENT, Preprocessor, Resume, Tensors
from mmstream.proof import expected_arrays, in_float32
from mmstream.records import Record, strong_digest_of

__all__ = ["TrainedModel", "load", "versions_of", "what_differs"]

_CORE_DISTRIBUTIONS = ("mmstream", "keras", "tensorflow", "pillow")
_MOST_SHOWN = 300
"""Characters of what a library says."""


class TrainedModel:
    """A trained model. Opening it is cheap; the network is loaded, and proven, when it is first needed.

    Args:
        path: the model's directory.
        embeddings: also give the embedding of each field and the fused vector.
        resume: what the digest of a record reads; None for what the config says.
        in_training: what model.json will say, of training itself, which makes a model that nothing proves yet: neither
            files nor golden records are compared. Everybody else reads model.json.

    Attributes:
        about: what model.json says.
        batch: B, the number of rows that the network is given at a time.
        fingerprints: digests of the model's pieces, by piece, and the versions that are installed; {} in training.
        fingerprint: one digest of all of these.

    Raises:
        MmstreamError: the directory is not a model, or is damaged.
    """

    def __init__(
        self,
        path: str,
        *,
        embeddings: bool = False,
        resume: Resume | None = None,
        in_training: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self.embeddings = embeddings
        self._in_training = in_training is not None
        try:
            self.about = read_description(path) if in_training is None else dict(in_training)
            self._files = ModelFiles(path, None if self._in_training else self.about["checksums"])
            if not self._in_training:
                check_files(path, self.about)
            self.config: Config = parse_config(self._files.read("config.yaml").decode())
        except (OSError, ValueError) as error:
            raise MmstreamError(f"the model {path} cannot be read: {describe(error)[:_MOST_SHOWN]}") from error
        self.fingerprints: dict[str, Any] = {}
        if not self._in_training:
            check_heads(path, self.about, self.config)
            if self.is_weakly_bound:
                check_claims(path, self.about, self.config)
            self.fingerprints = {**fingerprints_of(self.about, self.config), "versions": versions_of(self.config)}
        self.fingerprint = strong_digest_of(self.fingerprints)
        self.batch: int = self.about["batch"]
        self.calibration: dict[str, Any] = self.about["calibration"]
        self.heads: dict[str, Any] = self.about["heads"]
        self.resume: Resume = resume or self.config.resume
        self._lock = threading.Lock()

    @property
    def is_weakly_bound(self) -> bool:
        """Whether the fingerprint is one of format 3, which does not cover all that decides what the model says."""
        return not self._in_training and self.about["format"] == EARLIER_FORMAT

    def warn_if_weakly_bound(self) -> None:
        """Say that the fingerprint is one of an earlier format, and what it does not cover."""
        if self.is_weakly_bound:
            terminal.say(
                f"warning: {self.path} was made by an earlier mmstream; its fingerprint does not cover the network's "
                "layers, its heads and its golden records; `mmstream train` again makes one that does"
            )

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
        lines = self._files.read("history.csv").decode().splitlines()
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
        """The whole inference network; only components that the config names are imported for it.

        Raises:
            MmstreamError: it cannot be loaded, or is another than the model's.
        """
        network = load_network(self._files.read("network.keras"), files.join(self.path, "network.keras"), self.config)
        if self.is_weakly_bound and digest_of_weights(network) != self.about["fingerprints"]["weights"]:
            raise MmstreamError(f"the fingerprint of the model {self.path} is not its own: the weights differ")
        return network

    @property
    def pruned(self) -> Any:
        """The part of the network that the labels (and, with `embeddings`, the embeddings) need, on the same layers."""
        from mmstream.models.compose import prune

        return prune(self.network, self.heads, self.preprocessor.fields, embeddings=self.embeddings)

    def verify(self) -> list[golden.Difference]:
        """Run the golden records through preprocessing and network, and compare with what training kept."""
        return self._proven(self.__dict__.get("_loaded"))[1]

    def golden_records(self) -> list[Record]:
        """The golden records; [] if it has none.

        Raises:
            MmstreamError: they are not what training kept.
        """
        records = golden.parse_records(self._files.read("golden/records.jsonl")) if self.about["golden"] else []
        if len(records) != self.about["golden"]:
            raise MmstreamError(f"the golden records of {self.path} are not all there, so it cannot be proven")
        return records

    def check_again(self) -> None:
        """The fitted preprocessing, which TensorFlow reads by the names of its files, is what was checked on opening.

        Raises:
            MmstreamError: somebody has changed it meanwhile.
        """
        self._files.check_again("transform")

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

    def _halve_batch(self) -> None:
        self.batch //= 2
        self.__dict__.pop("_loaded", None)
        terminal.say(f"warning: out of memory; from now on {self.batch} records at a time: last digits may differ")

    def _load(self) -> Any:
        step, differences = self._proven()
        wrong = [difference for difference in differences if not difference.within]
        if wrong:
            lines = [f"  {d.name}: differs by {d.largest:.3g}, allowed {d.allowed:.3g}" for d in wrong]
            raise MmstreamError(
                f"the golden records of {self.path} do not come out here as they did in training, so its labels "
                "could not be trusted:\n" + "\n".join(lines) + f"\n{self._version_hint()}"
            )
        return step

    def _proven(self, step: Any = None) -> tuple[Any, list[golden.Difference]]:
        """The network as a function (by default it is compiled now), and what it makes of the golden records.

        Raises:
            MmstreamError: something in it fails; who made the model may have made it so.
        """
        try:
            step = step or self._compile()
            return step, self._check(step)
        except MmstreamError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise MmstreamError(
                f"the network of the model {self.path} fails on its golden records, or does not fit its config: "
                f"{describe(error)[:_MOST_SHOWN]}"
            ) from error

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
        if self._in_training:  # which is about to make them
            return []
        found: list[golden.Difference] = []
        if records := self.golden_records():
            expected = golden.parse_expected(self._files.read("golden/expected.npz"))
            made = expected_arrays(self, records, golden.golden_media(self.path), step, expected)
            unproven = set() if self.is_weakly_bound and expected else made.keys() - expected.keys()
            if unproven:
                raise MmstreamError(
                    f"the golden records of {self.path} are not all there, so it cannot be proven: training kept no "
                    f"{min(unproven)[:_MOST_SHOWN]}"
                )
            found = golden.compare(expected, made)
        self._open_vocabularies()
        self.check_again()
        return found

    def _open_vocabularies(self) -> None:
        """Let all be read that labelling reads of the fitted preprocessing, so that it can be compared after that."""
        _ = self.all_fields.fitted, self.preprocessor.specs
        if self.preprocessor.has_transform and not all(field.media for field in self.preprocessor.fields.values()):
            _ = self.preprocessor.graph

    def _version_hint(self) -> str:
        then = self.about["fingerprints"] if self.is_weakly_bound else self.about
        now = {"versions": self.fingerprints["versions"]}
        changed = what_differs({"versions": then["versions"]}, now)
        return f"Changed since training: {', '.join(changed)}." if changed else "No package version changed."


def load(path: str | Path, *, embeddings: bool = False) -> TrainedModel:
    """Open a model that `mmstream train` made."""
    return TrainedModel(os.fspath(path), embeddings=embeddings)


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
