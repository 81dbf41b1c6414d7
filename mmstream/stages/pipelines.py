"""`mmstream.Label` and `mmstream.Preprocess`: what the jobs do, as PTransforms for pipelines of your own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam

from mmstream.config.loading import load_config
from mmstream.config.schema import Config
from mmstream.errors import MmstreamError
from mmstream.inputs.items import record_of, without_media
from mmstream.outputs import ownership, parts, run_notes
from mmstream.preprocessing.preprocessor import Preprocessor
from mmstream.records.media import Media
from mmstream.records.record import DeadLetter, Record
from mmstream.runtime.concurrency import ThreadPool
from mmstream.stages.preprocess import PreprocessRecords, conclude
from mmstream.stages.shared_model import SharedModel
from mmstream.storage import files
from mmstream.trained_model.artefact import TrainedModel
from mmstream.trained_model.labelling import label_items

DEAD_LETTERS = "dead_letters"
_BATCHES_AT_A_TIME = 8


class Label(beam.PTransform):
    """Rows → label rows and dead letters; every row becomes one of them.

        results = rows | mmstream.Label("model")
        results.labelled, results.dead_letters

    Args:
        model: directory of the model.
        id: column that identifies a row.
        folder: where relative paths of media start, and where media may lie.
        roots: further folders that media may lie in.
        embeddings: whether rows get embeddings.
        threads: number of threads that decode and predict in each worker process; None for one per core.

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
    """Some rows → label rows, and dead letters as a second output."""

    def __init__(self, model: str, embeddings: bool, id_column: str, media: Media, threads: int | None) -> None:
        self._model, self._id, self._media = SharedModel(model, embeddings), id_column, media
        self._threads = threads
        self._counters = {kind: beam.metrics.Metrics.counter("mmstream", kind) for kind in ("labelled", DEAD_LETTERS)}

    def setup(self) -> None:
        self._pool = ThreadPool(self._threads)

    def process(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
        model = self._model()
        checked = [record_of(row, self._id, "") for row in rows]
        for result in label_items(checked, model, self._media, pool=self._pool):
            if isinstance(result, DeadLetter):
                self._counters[DEAD_LETTERS].inc()
                yield beam.pvalue.TaggedOutput(DEAD_LETTERS, result)
            else:
                self._counters["labelled"].inc()
                yield result

    def teardown(self) -> None:
        self._pool.close()


class Preprocess(beam.PTransform):
    """Rows → an output of `mmstream preprocess`, with everything that `mmstream train` needs.

        rows | mmstream.Preprocess("pictures.yaml", output="work/examples")

    Args:
        config: path of a config file, whose `source` is not read.
        output: directory of the examples; an existing one is brought up to date.
        id: column that identifies a row.
        folder: where relative paths of media start, and where media may lie.
        roots: further folders that media may lie in.
        parts: number of parts of a new output, a power of two; about one per 1,000 rows.
        threads: number of threads that decode in each worker process; None for one per core.

    The input's elements are dicts as a source reads them, media as paths or bytes; the input must be bounded. The
    output is a PCollection of one dict, the content of preprocess.json.
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
        self._config = load_config(config, network=False, open_values="first")
        self._output = output
        self._id = id
        self._media = Media(folder, roots)
        self._parts = parts
        self._threads = threads

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        """Open the output, analyse, apply, then reconcile; nothing is written before the pipeline runs."""
        config, output = self._config, self._output
        plan = ownership.check_output(output, "preprocess")
        count = plan.parts if plan else parts.parts_for(self._parts * parts.RECORDS_PER_PART)
        once = rows.pipeline | beam.Create([None])
        opened = once | "Open the output" >> beam.Map(lambda _: _Opened.now(output, count))
        reads, spool, id_column = Preprocessor(config.fields).reads(), files.join(output, "spool"), self._id
        items = rows | beam.Map(
            lambda row, after: _checked(row, id_column, reads, spool), beam.pvalue.AsSingleton(opened)
        )
        read = beam.pvalue.AsSingleton(items | beam.combiners.Count.Globally())
        written = items | PreprocessRecords(
            config=config,
            media=self._media,
            output=output,
            run=beam.pvalue.AsSingleton(opened | "Name the run" >> beam.Map(lambda each: each.run)),
            holder="",
            parts=count,
            threads=self._threads,
            scratch=files.join(output, ownership.SCRATCH),
        )
        return written | "Reconcile" >> beam.Map(
            lambda _, opened, read: _close(config, output, opened, read), beam.pvalue.AsSingleton(opened), read
        )


class _Opened(NamedTuple):
    """An output that a pipeline has opened.

    Attributes:
        run: the run's start, as a name.
        started: the same, in seconds since 1970.
        plan: the output's plan of parts.
    """

    run: str
    started: float
    plan: parts.Plan

    @classmethod
    def now(cls, output: str, count: int) -> _Opened:
        """Open the output; a new one gets `count` parts.

        Raises:
            MmstreamError: the output holds something else, or has another number of parts.
        """
        plan = ownership.open_output(output, "preprocess", count * parts.RECORDS_PER_PART)
        if plan.parts != count:
            raise MmstreamError(
                f"{output} has {plan.parts} parts, but this pipeline was built for {count}, before the output existed; "
                "build it again"
            )
        return cls(run_notes.new_run(), time.time(), plan)


def _checked(row: Mapping[str, Any], id_column: str, reads: Mapping[str, bool], spool: str) -> Record | DeadLetter:
    item = record_of(row, id_column, "")
    return without_media(item, reads, spool) if isinstance(item, Record) else item


def _close(config: Config, output: str, opened: _Opened, count: int) -> dict[str, Any]:
    run_notes.note(output, opened.run, "read-00000", rows=count)
    files.remove_folder(files.join(output, ownership.SCRATCH))
    return conclude(config, output, opened.run, opened.plan, time.time() - opened.started)
