"""`mmstream.Label` and `mmstream.Preprocess`: what the jobs do, as PTransforms for pipelines of your own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam

from mmstream import books, files, outputs, parts
from mmstream.concurrency import Workers
from mmstream.config import Config
from mmstream.config_file import load_config
from mmstream.labelling import label_items
from mmstream.media import Media
from mmstream.preprocessing import Preprocessor
from mmstream.records import DeadLetter, Record
from mmstream.stages.label import SharedModel
from mmstream.stages.preprocess import PreprocessRecords, close_books
from mmstream.stages.reading import record_of, without_media
from mmstream.trained_model import TrainedModel

DEAD_LETTERS = "dead_letters"
_BATCHES_AT_A_TIME = 8


class Label(beam.PTransform):
    """Rows → label rows and dead letters; every row becomes one of them.

        results = rows | mmstream.Label("model")
        results.labelled, results.dead_letters

    Args:
        model: directory of the model.
        id: column that names a row.
        folder: where relative paths of media begin, and where media may lie.
        roots: further folders that media may lie in.
        embeddings: whether rows get embeddings.
        threads: that decode and predict, in each worker process; None for one a core.

    The input's elements are dicts as a source reads them, media as paths or bytes. The output is a tuple of two
    PCollections: `labelled`, dicts as `mmstream label` writes them, and `dead_letters`, `mmstream.DeadLetter`.
    """

    def __init__(
        self,
        model: str,
        *,
        id: str = "id",
        folder: str = ".",
        roots: Sequence[str] = (),
        embeddings: bool = False,
        threads: int | None = None,
    ) -> None:
        super().__init__()
        self._model = TrainedModel(model, embeddings=embeddings)
        self._labeller = _LabelRows(model, embeddings, id, Media(folder, roots), threads)

    def expand(self, rows: beam.PCollection) -> Any:
        """Label whole batches."""
        size = self._model.batch
        batches = rows | beam.BatchElements(min_batch_size=size, max_batch_size=_BATCHES_AT_A_TIME * size)
        return batches | beam.ParDo(self._labeller).with_outputs(DEAD_LETTERS, main="labelled")


class _LabelRows(beam.DoFn):
    """Some rows → label rows, and dead letters beside them."""

    def __init__(self, model: str, embeddings: bool, id_column: str, media: Media, threads: int | None) -> None:
        self._model, self._id, self._media = SharedModel(model, embeddings), id_column, media
        self._threads = threads
        self._counters = {kind: beam.metrics.Metrics.counter("mmstream", kind) for kind in ("labelled", DEAD_LETTERS)}

    def setup(self) -> None:
        self._workers = Workers(self._threads)

    def process(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
        model = self._model()
        checked = [record_of(row, self._id, "") for row in rows]
        for result in label_items(checked, model, self._media, workers=self._workers):
            if isinstance(result, DeadLetter):
                self._counters[DEAD_LETTERS].inc()
                yield beam.pvalue.TaggedOutput(DEAD_LETTERS, result)
            else:
                self._counters["labelled"].inc()
                yield result

    def teardown(self) -> None:
        self._workers.close()


class Preprocess(beam.PTransform):
    """Rows → an output of `mmstream preprocess`, with everything that `mmstream train` needs.

        rows | mmstream.Preprocess("pictures.yaml", output="work/examples")

    Args:
        config: path of a config file, whose `source` is not read.
        output: directory of the examples; one that this made before is brought up to date.
        id: column that names a row.
        folder: where relative paths of media begin, and where media may lie.
        roots: further folders that media may lie in.
        parts: into how many parts a new output is cut, a power of two; about one for 1,000 rows.
        threads: that decode, in each worker process; None for one a core.

    The input's elements are dicts as a source reads them, media as paths or bytes; it is bounded. The output is a
    PCollection of one dict, what preprocess.json says.
    """

    def __init__(
        self,
        config: str,
        output: str,
        *,
        id: str = "id",
        folder: str = ".",
        roots: Sequence[str] = (),
        parts: int = 64,
        threads: int | None = None,
    ) -> None:
        super().__init__()
        self._config = load_config(config, network=False)
        self._output = output
        self._id = id
        self._media = Media(folder, roots)
        self._parts = parts
        self._threads = threads or os.cpu_count() or 1

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        """Analyse, then apply, then close the books."""
        config, output, run, started = self._config, self._output, books.new_run(), time.time()
        plan = outputs.open_output(output, "preprocess", self._parts * parts.RECORDS_PER_PART)
        reads, spool, id_column = Preprocessor(config.fields).reads(), files.join(output, "spool"), self._id
        items = rows | beam.Map(lambda row: _checked(row, id_column, reads, spool))
        count = beam.pvalue.AsSingleton(items | beam.combiners.Count.Globally())
        scratch = files.join(output, "scratch")
        written = items | PreprocessRecords(config, self._media, output, run, "", plan.parts, self._threads, scratch)
        return written | "Close the books" >> beam.Map(
            lambda _, read: _close(config, output, run, plan, started, read), count
        )


def _checked(row: Mapping[str, Any], id_column: str, reads: Mapping[str, bool], spool: str) -> Record | DeadLetter:
    item = record_of(row, id_column, "")
    return without_media(item, reads, spool) if isinstance(item, Record) else item


def _close(config: Config, output: str, run: str, plan: parts.Plan, started: float, count: int) -> dict[str, Any]:
    books.note(output, run, "read-00000", rows=count)
    files.remove_folder(files.join(output, "scratch"))
    return close_books(config, output, run, plan, time.time() - started)
