"""A trained model: what `mmstream.load` returns and every job labels with."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmstream import terminal
from mmstream.config.schema import Config
from mmstream.errors import MmstreamError, describe, is_out_of_memory
from mmstream.interfaces import LabelType
from mmstream.preprocessing import golden
from mmstream.preprocessing.preprocessor import Preprocessor, Resume, Tensors
from mmstream.records.media import Media
from mmstream.records.record import Record, strong_digest_of
from mmstream.runtime.concurrency import ThreadPool
from mmstream.runtime.imports import importing
from mmstream.storage import files
from mmstream.trained_model.compiled_step import Step, compile_step
from mmstream.trained_model.labelling import columns_of, label_records, rows_of
from mmstream.trained_model.model_description import MOST_SHOWN
from mmstream.trained_model.model_directory import directory_in_training, open_directory
from mmstream.trained_model.network_file import digest_of_weights, load_network
from mmstream.trained_model.proof import check_reproduced, compare_golden


class TrainedModel:
    """A trained model. Opening it is cheap; the network is loaded and verified when it is first needed.

    Args:
        path: the model's directory.
        embeddings: also give the embedding of each field and the fused vector.
        resume: what a record's digest covers; None for what the config says.
        in_training: what model.json will say; given only by training, whose model cannot be verified yet: neither files
            nor golden records are compared.

    Attributes:
        about: the contents of model.json.
        batch: B, the number of rows that the network is given at a time.
        fingerprints: digests of the model's pieces, by piece, and the installed versions; {} in training.
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
        self._directory = open_directory(path) if in_training is None else directory_in_training(path, in_training)
        self.about: dict[str, Any] = self._directory.about
        self.config: Config = self._directory.config
        self.fingerprints: dict[str, Any] = self._directory.fingerprints
        self.fingerprint = strong_digest_of(self.fingerprints)
        self.batch: int = self.about["batch"]
        self.calibration: dict[str, Any] = self.about["calibration"]
        self.heads: dict[str, Any] = self.about["heads"]
        self.resume: Resume = resume or self.config.resume
        self._step: Step | None = None
        self._lock = threading.Lock()

    @property
    def is_weakly_bound(self) -> bool:
        """Whether the fingerprint is of format 3, which does not cover everything that decides the labels."""
        return self._directory.is_weakly_bound

    def warn_if_weakly_bound(self) -> None:
        """Warn if the fingerprint is of an earlier format, and say what it does not cover."""
        if self.is_weakly_bound:
            terminal.warn(
                f"{self.path} was made by an earlier version of mmstream; its fingerprint does not cover the network's "
                "layers, its heads or its golden records; run `mmstream train` again for a fingerprint that does"
            )

    @functools.cached_property
    def preprocessor(self) -> Preprocessor:
        """The preprocessor of the fields that the heads read (with `embeddings`, of all that are encoded)."""
        read = {field for head in self.heads.values() for field in head["reads"]}
        if self.embeddings or not read:
            read |= set(self.config.model.encoders)
        return Preprocessor(self.config.fields, files.join(self.path, "transform"), only=read, resume=self.resume)

    @functools.cached_property
    def all_fields(self) -> Preprocessor:
        """The preprocessor of every field of the config, read by a head or not."""
        return Preprocessor(self.config.fields, files.join(self.path, "transform"))

    @functools.cached_property
    def schema(self) -> dict[str, LabelType]:
        """Columns of a label row, with their types."""
        embeddings = self.config.model.encoders if self.embeddings else ()
        return columns_of(self.heads, embeddings, fused=self.embeddings and self.about["fused"])

    @functools.cached_property
    def network(self) -> Any:
        """The whole inference network; only components that the config names are imported for it.

        Raises:
            MmstreamError: it cannot be loaded, or its weights are not those of the fingerprint.
        """
        data, name = self._directory.files.read("network.keras"), files.join(self.path, "network.keras")
        network = load_network(data, name, self.config)
        if self.is_weakly_bound and digest_of_weights(network) != self.about["fingerprints"]["weights"]:
            raise MmstreamError(
                f"the fingerprint of the model {self.path} does not match the model's contents: the weights differ"
            )
        return network

    @property
    def pruned(self) -> Any:
        """The part of the network that the labels (and, with `embeddings`, the embeddings) need, on the same layers."""
        from mmstream.models.network import prune

        return prune(self.network, self.heads, self.preprocessor.fields, embeddings=self.embeddings)

    def head(self, name: str) -> Any:
        """The layer of a head."""
        from mmstream.models.network import head_of

        return head_of(self.network, name)

    def fitted(self, head: str) -> Any:
        """What the full pass learnt about the field that a head predicts."""
        return self.all_fields.fitted[self.heads[head]["target"]]

    def prepare(self) -> None:
        """Load the network and check the golden records, once in a process.

        Raises:
            MmstreamError: it cannot be loaded, or the golden records give other results than in training.
        """
        self._loaded_step()

    def predict(self, tensors: Tensors) -> dict[str, Any]:
        """Named outputs of one padded batch: numpy in and out, `self.batch` rows."""
        return self._loaded_step()(tensors)

    def rows(self, outputs: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
        """The first `count` rows of some outputs as label rows, without id, fingerprint, digest and origin."""
        return rows_of(self, outputs, count)

    def halve_batch(self, size: int) -> None:
        """Give the network half as many rows at a time: a batch of this size did not fit into memory."""
        with self._lock:
            if self.batch == size:  # no other thread has done so
                self._halve_batch()

    def label(self, records: Iterable[Mapping[str, Any]], *, threads: int | None = None) -> Iterator[Any]:
        """Label rows of a dataset in Python, without Beam.

        Args:
            records: rows as dicts, {"image": "cat.png", "text": "…"}; media as paths from the current folder, or bytes.
                "id" identifies a record; by default, its number does.
            threads: how many decode and predict; None for one per core.

        Yields:
            for each record, in order: a label row (dict), or the `DeadLetter` that says why there is none.
        """
        rows = (Record(str(row.get("id", n)), f"record {n}", row) for n, row in enumerate(records))
        media = Media(str(Path.cwd()), anywhere=True)
        with ThreadPool(threads) as pool:
            for _, result in label_records(rows, self, media, pool=pool):
                yield result

    def verify(self) -> list[golden.Difference]:
        """Run the golden records through preprocessing and network, and compare the results with those in training."""
        return self._proven(self._step)[1]

    def golden_records(self) -> list[Record]:
        """The golden records; [] if the model has none.

        Raises:
            MmstreamError: they are not those that training kept.
        """
        return self._directory.golden_records()

    def check_again(self) -> None:
        """Check the files of the fitted preprocessing again, as TensorFlow opens them itself.

        Raises:
            MmstreamError: one has changed since the model was opened.
        """
        self._directory.files.check_again("transform")

    def history(self) -> list[dict[str, float]]:
        """A row for each epoch of the training: "epoch" and all that was measured in it."""
        return self._directory.history()

    def _halve_batch(self) -> None:
        self.batch //= 2
        self._step = None
        terminal.warn(f"out of memory; processing {self.batch} records at a time from now on; last digits may differ")

    def _loaded_step(self) -> Step:
        """The compiled and verified network, with as many rows at a time as the memory holds."""
        with self._lock:
            while self._step is None:
                try:
                    self._step = self._load_step()
                except Exception as error:
                    if not is_out_of_memory(error) or self.batch == 1:
                        raise
                    self._halve_batch()
            return self._step

    def _load_step(self) -> Step:
        with importing():
            import keras  # noqa: F401 - the network needs it, and it needs TensorFlow
        step, differences = self._proven()
        check_reproduced(differences, self._directory)
        return step

    def _proven(self, step: Step | None = None) -> tuple[Step, list[golden.Difference]]:
        """The network, compiled unless it is given, and the differences in its results for golden records.

        Raises:
            MmstreamError: something in it fails, perhaps because whoever made the model meant it to.
        """
        try:
            step = step or compile_step(self.pruned, self.preprocessor.specs, self.batch)
            if self._directory.in_training:  # which has yet to keep the results of golden records
                return step, []
            differences = compare_golden(self, self._directory, step)
            self._read_vocabularies()
            self.check_again()
            return step, differences
        except MmstreamError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise MmstreamError(
                f"the network of the model {self.path} fails on its golden records, or does not fit its config: "
                f"{describe(error)[:MOST_SHOWN]}"
            ) from error

    def _read_vocabularies(self) -> None:
        """Read all that labelling needs of the fitted preprocessing, before its files are checked again."""
        _ = self.all_fields.fitted, self.preprocessor.specs
        if self.preprocessor.has_transform and not all(field.media for field in self.preprocessor.fields.values()):
            _ = self.preprocessor.graph


def load(path: str | Path, *, embeddings: bool = False) -> TrainedModel:
    """Open a model that `mmstream train` made."""
    return TrainedModel(os.fspath(path), embeddings=embeddings)
