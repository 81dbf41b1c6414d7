"""The contract of a field."""

from __future__ import annotations

import json
import logging
import math
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from mmstream.config.schema import Config, FieldConfig, ModelConfig, SourceConfig, SplitConfig
from mmstream.errors import RecordError
from mmstream.interfaces import Field
from mmstream.plugins import registry
from mmstream.preprocessing.preprocessor import PRESENT, Decoded, Preprocessor
from mmstream.records.record import Record
from mmstream.testing.component import LightContract

FIELD = "contract"
"""The field's name in the contract."""
DTYPES = ("float32", "int64", "uint8")
ODD_VALUES: Sequence[Any] = (
    *("", " ", "\0", "\ud800", "\u202e", "a\nb", "x" * 10_000),
    *(0, -1, 2**70, 10**5000, 0.5, float("nan"), float("inf"), True, 1j),
    *(b"", b"\xff\xfe", b"\0" * 1000),
    *([], [None], [[]], [{}], ["\ud800"], ["a", 1, 0.5], (), {}, {"a": 1}, {"a", "b"}, object()),
)
"""Values that people's data hold in place of what should be there."""


class FieldContract(LightContract):
    """A field decodes good values, refuses bad ones at the cost of no other record, and keeps to its spec.

    Attributes:
        values: two or more good values, including unusual ones; for a media field, the bytes of files. Any other field
            is fitted to them, so give a value as often as the parameters demand. If `parameters` name `columns`, each
            value (here and below) is a list with an item for each column.
        absent: values that mean that the field is absent, such as an empty text.
        bad: values that must be refused.
    """

    kind = "field"
    values: ClassVar[Sequence[Any]]
    absent: ClassVar[Sequence[Any]] = ()
    bad: ClassVar[Sequence[Any]]

    @pytest.fixture(scope="class")
    @classmethod
    def preprocessor(cls, tmp_path_factory: pytest.TempPathFactory) -> Preprocessor:
        """The preprocessor of the field, fitted to the good values."""
        return fit(cls.name, cls.parameters, cls.values, tmp_path_factory.mktemp("transform"))

    @pytest.fixture(scope="class")
    @classmethod
    def decoded(cls, preprocessor: Preprocessor) -> list[Decoded]:
        """The good values, decoded."""
        return [preprocessor.decode({FIELD: value}) for value in cls.values]

    def test_declares_tensors_that_examples_can_hold(self, preprocessor: Preprocessor) -> None:
        field = preprocessor.fields[FIELD]
        spec = field.spec(preprocessor.fitted[FIELD])
        assert spec
        assert PRESENT not in spec, "mmstream adds it"
        assert {dtype for _, dtype in spec.values()} <= set(DTYPES)
        assert all(type(side) is int and side > 0 for shape, _ in spec.values() for side in shape)
        assert bool(field.raw()) != field.media, "a cheap field has raw columns, a media field has none"

    def test_good_values_give_what_is_declared(self, preprocessor: Preprocessor, decoded: list[Decoded]) -> None:
        for row in decoded:
            check_decoded(preprocessor, row)
        check_tensors(preprocessor, decoded)

    def test_good_values_are_present_and_leave_a_trace(
        self, preprocessor: Preprocessor, decoded: list[Decoded]
    ) -> None:
        tensors = preprocessor.tensors(decoded)[FIELD]
        assert tensors.pop(PRESENT).tolist() == [1.0] * len(decoded)
        assert any(array.any() for array in tensors.values())

    def test_absent_values_are_zeros_and_not_present(self, preprocessor: Preprocessor, decoded: list[Decoded]) -> None:
        absent = [preprocessor.decode({FIELD: value}) for value in (None, *self.absent)]
        assert [row[FIELD] for row in absent] == [None] * len(absent)
        tensors = preprocessor.tensors([decoded[0], *absent])[FIELD]
        assert not any(array[1:].any() for array in tensors.values())

    def test_bad_values_are_refused(self, preprocessor: Preprocessor) -> None:
        assert self.bad
        for value in self.bad:
            with pytest.raises((ValueError, TypeError, OSError)):
                preprocessor.fields[FIELD].decode(value)

    def test_what_it_looks_up_is_what_its_vocabulary_is_made_of(
        self, preprocessor: Preprocessor, decoded: list[Decoded]
    ) -> None:
        field, columns = preprocessor.fields[FIELD], self.parameters.get("columns") or [FIELD]
        looked_up = [field.looked_up(values) for row in decoded if (values := row[FIELD]) is not None]
        vocabulary = preprocessor.fitted[FIELD].vocabulary
        assert {len(texts) for texts in looked_up} <= ({1, len(columns)} if vocabulary else {0})
        assert set(vocabulary) <= {text for texts in looked_up for column in texts for text in column}
        if len(columns) > 1 and max(map(len, looked_up)) > 1:
            for texts in looked_up:
                for column, of_column in zip(columns, texts, strict=True):
                    assert all(text.startswith(f"{column}=") for text in of_column)

    def test_odd_values_are_decoded_or_become_dead_letters(self, preprocessor: Preprocessor) -> None:
        accepted = []
        columns = self.parameters.get("columns")
        odd = [[value] * len(columns) for value in ODD_VALUES] if columns else ODD_VALUES
        for value in (*odd, *self.bad, *self.values):
            try:
                row = preprocessor.decode({FIELD: value})
            except RecordError:
                continue
            check_decoded(preprocessor, row)
            accepted.append(row)
        check_tensors(preprocessor, accepted)

    def test_equal_values_give_equal_tensors_alone_or_in_a_batch(
        self, preprocessor: Preprocessor, decoded: list[Decoded]
    ) -> None:
        whole = preprocessor.tensors(decoded, len(decoded) + 3)[FIELD]
        for number, value in enumerate(self.values):
            alone = preprocessor.tensors([preprocessor.decode({FIELD: value})])[FIELD]
            for name, array in alone.items():
                np.testing.assert_array_equal(array[0], whole[name][number])

    def test_what_pads_a_batch_is_absent(self, preprocessor: Preprocessor, decoded: list[Decoded]) -> None:
        padded = preprocessor.tensors(decoded, len(decoded) + 3)[FIELD]
        assert not any(array[len(decoded) :].any() for array in padded.values())

    def test_it_can_be_pickled(self, preprocessor: Preprocessor, decoded: list[Decoded]) -> None:
        copy: Field = pickle.loads(pickle.dumps(preprocessor.fields[FIELD]))
        for value, row in zip(self.values, decoded, strict=True):
            np.testing.assert_equal(copy.decode(value), row[FIELD])

    def test_equal_values_have_near_hashes_of_the_declared_size(
        self, preprocessor: Preprocessor, decoded: list[Decoded]
    ) -> None:
        similarity = preprocessor.fields[FIELD].similarity
        if similarity is None:
            pytest.skip("its values are not compared")
        again = [preprocessor.decode({FIELD: value}) for value in self.values]
        some, others = ([similarity.hash(row[FIELD]) for row in rows] for rows in (decoded, again))  # type: ignore[arg-type]
        assert some == others
        hashes = [value for value in some if value is not None]
        assert hashes, "give at least one value that can be compared"
        assert {len(value) for value in hashes} == {similarity.size}
        table = np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, similarity.size)
        bands = similarity.bands(table)
        assert (bands.shape[0], bands.dtype) == (len(table), np.uint64)
        assert similarity.are_near(table, table).all()

    def test_linear_features_are_as_many_as_it_says(self, preprocessor: Preprocessor, decoded: list[Decoded]) -> None:
        field = preprocessor.fields[FIELD]
        count = field.count_linear_features(preprocessor.fitted[FIELD])
        if not count:
            pytest.skip("it has no features for linear models")
        from keras import ops

        def features(rows: list[Decoded]) -> dict[str, np.ndarray]:
            tensors = {key: ops.convert_to_tensor(array) for key, array in preprocessor.tensors(rows)[FIELD].items()}
            return {key: ops.convert_to_numpy(value) for key, value in field.linear_features(tensors).items()}

        found, alone = features(decoded), features(decoded[:1])
        if "dense" in found:
            assert {key: array.shape for key, array in found.items()} == {"dense": (len(decoded), count)}
        else:
            assert set(found) <= {"ids", "weights"}
            assert np.issubdtype(found["ids"].dtype, np.integer)
            assert 0 <= found["ids"].min() <= found["ids"].max() <= count
            assert found.get("weights", found["ids"]).shape == found["ids"].shape
        for key, array in found.items():
            assert np.isfinite(array).all()
            np.testing.assert_allclose(alone[key], array[:1], rtol=1e-5, atol=1e-6)

    def test_augmented_tensors_keep_the_spec(self, preprocessor: Preprocessor, decoded: list[Decoded]) -> None:
        import tensorflow as tf

        field, tensors = preprocessor.fields[FIELD], preprocessor.tensors(decoded)[FIELD]
        tensors.pop(PRESENT)
        rows = tf.data.Dataset.from_tensor_slices(tensors)
        seeds = tf.data.Dataset.random(seed=1).batch(2, drop_remainder=True).map(lambda s: tf.cast(s, tf.int32))
        augmented = tf.data.Dataset.zip(rows, seeds).map(field.augment)
        count = 0
        for row in augmented.as_numpy_iterator():
            count += 1
            assert {name: (value.shape, str(value.dtype)) for name, value in row.items()} == {
                name: (value.shape[1:], str(value.dtype)) for name, value in tensors.items()
            }
        assert count == len(decoded)

    def test_a_normalised_text_decodes_to_itself(self, preprocessor: Preprocessor, decoded: list[Decoded]) -> None:
        field = preprocessor.fields[FIELD]
        for row in decoded:
            values = row[FIELD]
            text = None if values is None else field.text(values)
            assert text is None or field.decode(text) == values

    def test_what_a_record_was_given_decodes_to_the_same(
        self, preprocessor: Preprocessor, decoded: list[Decoded]
    ) -> None:
        field = preprocessor.fields[FIELD]
        for row in decoded:
            values = row[FIELD]
            given = None if values is None or field.media else field.given(values)
            assert given is None or field.decode(json.loads(json.dumps(given))) == values

    def test_an_exported_graph_reads_a_value_as_it_is_decoded_or_refuses_it(self, preprocessor: Preprocessor) -> None:
        import tensorflow as tf

        field, columns = preprocessor.fields[FIELD], self.parameters.get("columns")
        if not field.served:
            return
        signature = tf.TensorSpec((None, len(columns)) if columns else (None,), field.served)
        serve = tf.function(field.serve, input_signature=[signature])
        odd = [[value] * len(columns) for value in ODD_VALUES] if columns else ODD_VALUES
        served = 0
        for value in (*odd, *self.bad, *self.values, *self.absent):
            raw = raw_values(field, value if columns else [value])
            if raw is None:
                continue
            try:
                outputs = serve(tf.constant([raw] if columns else raw, field.served))
            except tf.errors.InvalidArgumentError:
                continue
            check_served(field, outputs, preprocessor.decode({FIELD: value})[FIELD])
            served += 1
        assert served

    def test_the_head_that_usually_predicts_it_exists(self) -> None:
        field = self.build()
        assert not field.predicted_by or field.predicted_by in registry.names("head")


def check_decoded(preprocessor: Preprocessor, row: Decoded) -> None:
    """Check that the output of `decode` is what the field declares: raw columns as lists, or tensors of media."""
    field, values = preprocessor.fields[FIELD], row[FIELD]
    if values is None:
        return
    if field.media:
        spec = field.spec(preprocessor.fitted[FIELD])
        assert {name: (array.shape, str(array.dtype)) for name, array in values.items()} == dict(spec)
        return
    raw = field.raw()
    assert set(values) == set(raw)
    for column, dtype in raw.items():
        assert type(values[column]) is list
        for value in values[column]:
            if dtype == "string":
                assert type(value) is str
                value.encode("utf-8")
            elif dtype == "int64":
                assert type(value) is int
                assert -(2**63) <= value < 2**63
            else:
                assert type(value) in (int, float)
                assert np.isfinite(np.float32(value))


def raw_values(field: Field, values: Sequence[Any]) -> list[Any] | None:
    """Values in the form that an exported graph expects; None if it cannot take one of them."""
    raw: list[Any] = []
    for value in values:
        if value is None and not field.media:
            raw.append("" if field.served == "string" else math.nan)
        elif field.served == "float32":
            if type(value) not in (int, float) or abs(value) > 1e300 or math.isnan(value):
                return None
            raw.append(float(value))
        elif field.media and isinstance(value, bytes) and value:
            raw.append(value)
        elif not field.media and isinstance(value, str):
            raw.append(value.encode("utf-8", "surrogatepass"))
        else:
            return None
    return raw


def check_served(field: Field, outputs: Mapping[str, Any], decoded: Mapping[str, Any] | None) -> None:
    """Check that the output of a graph for one value equals that of `decode`."""
    if field.media:
        assert decoded is not None
        assert set(outputs) == set(decoded)
        for name, array in decoded.items():
            np.testing.assert_array_equal(outputs[name][0], array)
        return
    assert set(outputs) == set(field.raw())
    for column, dtype in field.raw().items():
        expected = decoded[column] if decoded else []
        (row,) = outputs[column].to_list()
        if dtype == "string":
            assert [value.decode() for value in row] == expected
        else:
            np.testing.assert_array_equal(np.array(row, dtype), np.array(expected, dtype))


def check_tensors(preprocessor: Preprocessor, rows: Sequence[Decoded]) -> None:
    """Check that a batch of rows is finite and has the declared shapes and dtypes."""
    tensors = preprocessor.tensors(rows)[FIELD]
    assert {name: (array.shape, str(array.dtype)) for name, array in tensors.items()} == {
        name: ((len(rows), *shape), dtype) for name, (shape, dtype) in preprocessor.specs[FIELD].items()
    }
    assert all(np.isfinite(array).all() for array in tensors.values())


def fit(name: str, parameters: Mapping[str, Any], values: Sequence[Any], directory: Path) -> Preprocessor:
    """Make a preprocessor of one field, fitted to some values by the stage that `mmstream preprocess` uses."""
    columns = parameters.get("columns")
    column = {} if columns else {"column": FIELD}
    fields = {FIELD: FieldConfig.model_validate({"use": name, **column, **parameters})}
    unfitted = Preprocessor(fields)
    if not unfitted.has_transform:
        return unfitted
    import apache_beam as beam
    import tensorflow_transform.beam as tft_beam

    from beam_jobs import running
    from mmstream.stages.analyse import AnalyseColumns
    from mmstream.stages.reading import RouteToParts

    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    everything = SplitConfig(validation=0.0, test=0.0)
    source = SourceConfig(use="jsonl", path="unread.jsonl")
    config = Config(source=source, split=everything, fields=fields, model=ModelConfig(encoders={}))
    rows = [dict(zip(columns, value, strict=True)) if columns else {FIELD: value} for value in values]
    records = [Record(str(number), f"values:{number}", row) for number, row in enumerate(rows)]
    scratch = str(directory / "scratch")
    with running.pipeline(running.beam_options([])) as pipeline, tft_beam.Context(temp_dir=scratch):
        grouped = pipeline | beam.Create(records) | RouteToParts(1)
        grouped | AnalyseColumns(config, str(directory / "transform"))
    return Preprocessor(fields, str(directory / "transform"))
