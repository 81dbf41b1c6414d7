"""Guessing what the columns of an input are."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

from mmstream.errors import MmstreamError, listed
from mmstream.inputs.listing import as_json, in_words
from mmstream.records.media import Media
from mmstream.records.record import split_of_file
from mmstream.starting_config import levels, lines, roles, trial
from mmstream.starting_config.columns import Column, look_at, together, why_unread, with_distinct_names
from mmstream.starting_config.pictures import Pictures
from mmstream.starting_config.pretrained import with_pretrained
from mmstream.starting_config.sampling import Sample
from mmstream.starting_config.unread import Unread
from mmstream.storage import files, patterns


class StartingConfig(NamedTuple):
    """A first config.

    Attributes:
        text: the config as YAML.
        notes: what the user should know before using it.
    """

    text: str
    notes: tuple[str, ...]


class Guess:
    """Guesses what the columns of an input are, until a config for them passes `check`.

    Args:
        use: the source component.
        path: the path of the input.
        folder: the folder of the config.
        sample: a sample of the input.
        targets: columns to predict; none to guess them.
        pretrained: whether encoders with pretrained weights read the inputs that they suit.
    """

    def __init__(
        self, use: str, path: str, folder: str, sample: Sample, targets: Sequence[str], *, pretrained: bool = False
    ) -> None:
        self._is_pretrained = pretrained
        self._use, self._path, self._folder = use, path, folder
        self._sample = sample
        self._targets = targets
        free = {name: values for name, values in sample.columns.items() if name not in targets}
        self._id = roles.id_of(free, len(sample.rows))
        self._split = roles.split_of(free, len(sample.rows))
        self._by_file = not self._split and _are_split_by_file(sample)
        self._media = Media(patterns.input_folder(path), has_tables=True)
        self._left_out: dict[str, str] = {}
        self._without_pictures = ""
        self._notes: list[str] = []
        self._columns = with_distinct_names(self._looked_at())

    def config(self) -> StartingConfig:
        """Make the config, without the columns that cannot be read."""
        self._leave_out_what_fails()
        self._note_how_the_sample_is_read()
        self._leave_out_copies_of_targets()
        while refused := trial.why_refused(text := self._text()):
            blamed = [column for column in self._columns if column.field in refused]
            if not blamed:
                raise MmstreamError(f"no config for {self._path} is valid: {'; '.join(refused.values())}")
            for column in blamed:
                self._leave_out(column, refused[column.field])
        self._note_pictures_that_no_column_names()
        if self._sample.passed_over:
            self._notes.append(f"passed over: {in_words(as_json(self._sample.passed_over))}")
        notes = [f"{name} is not read: {why}" for name, why in self._left_out.items()]
        return StartingConfig(text, (*notes, *self._notes))

    def _text(self) -> str:
        """The config of the remaining columns.

        Raises:
            MmstreamError: no target remains, or no input.
        """
        targets, why = self._predicted()
        self._check_inputs([column for column in self._columns if column not in targets])
        inputs = together([column for column in self._columns if column not in targets])
        if self._is_pretrained and inputs:
            inputs = with_pretrained(inputs, self._sample)
        if not targets or not inputs:
            read = [f"{column.name} ({column.suggestion.why})" for column in self._columns]
            not_read = [f"{name} ({why})" for name, why in self._left_out.items()]
            more = [self._without_pictures] if self._without_pictures else []
            if self._sample.passed_over:
                more.append(f"passed over: {in_words(as_json(self._sample.passed_over))}")
            lacks = "a target" if inputs or not read else "an input"
            add = "name one with --target COLUMN, add one, or add a folder for each class" if inputs else "add one"
            raise MmstreamError(
                f"nothing in {self._path} looks like {lacks}; {add}\n  read: {listed(read) or 'nothing'}; "
                f"not read: {listed(not_read) or 'nothing'}" + "".join(f"\n  {line}" for line in more)
            )
        return lines.config_text(
            use=self._use,
            path=self._path,
            folder=self._folder,
            id_column=self._id,
            split=self._given_splits,
            sample=self._sample,
            inputs=inputs,
            targets=targets,
            why_targets=why,
            left_out=self._left_out,
        )

    def _check_inputs(self, inputs: Sequence[Column]) -> None:
        """If the pictures cannot be read, check that some input is more than a class or a number.

        Raises:
            MmstreamError: none is, and the user named no target.
        """
        if self._without_pictures and not self._targets and all(_is_closed(column) for column in inputs):
            raise MmstreamError(
                f"the pictures of {self._path} cannot be read; {self._without_pictures}. To do without pictures, "
                "name the column to predict with --target COLUMN"
            )

    def _looked_at(self) -> list[Column]:
        """The columns that fields can read; leaves out the others."""
        folder, local = patterns.input_folder(self._path), not files.is_remote(self._path)
        anywhere = Media(folder, anywhere=local)
        candidates: dict[str, Column] = {}
        pictured: dict[str, Column] = {}
        for name, values in self._sample.columns.items():
            column = None if name == self._split else look_at(name, values, anywhere)
            if column is not None:
                candidates[name] = column
        has_media = any(column.component.media for column in candidates.values())
        if local and (self._folders or not has_media):
            pictured = self._named_by_id(beside=has_media)
        has_media = has_media or bool(pictured)
        columns = []
        for name, values in self._sample.columns.items():
            column = pictured.get(name) or candidates.get(name)
            is_media = column is not None and column.component.media
            if name == self._split:
                continue
            if why := "" if is_media or name in self._targets else self._unread.why_no_path(values):
                self._left_out[name] = why
                self._without_pictures = f"{name}: {why}"
                continue
            if not has_media and roles.may_name_files(name, self._sample.placed(name)):
                self._note_unread_ids(name, values)
            if name == self._id and not is_media:
                continue
            is_used = name in self._targets or is_media
            if why := "" if is_used else self._why_no_input(name, values):
                self._left_out[name] = why
            elif column is None:
                self._left_out[name] = why_unread(values)
            else:
                columns.append(column)
        self._check_targets(columns)
        return columns

    def _why_no_input(self, name: str, values: Sequence[Any]) -> str:
        """Why a column is of no use as an input; "" if it may be of use."""
        rows = self._sample.rows
        by_name = {other: [row.get(other) for row in rows] for other in self._sample.columns}
        return levels.why_no_class(name, by_name) or roles.why_no_input(name, values, self._sample.count)

    def _note_unread_ids(self, name: str, values: Sequence[Any]) -> None:
        if why := self._unread.why_no_id(values):
            self._without_pictures = f"{name}: {why}"
            self._notes.append(self._without_pictures)

    @functools.cached_property
    def _pictures(self) -> Pictures:
        """The pictures below the folder of the input."""
        return Pictures(patterns.input_folder(self._path))

    @functools.cached_property
    def _unread(self) -> Unread:
        return Unread(self._pictures)

    def _check_targets(self, columns: Sequence[Column]) -> None:
        """Check that each target can be predicted.

        Raises:
            MmstreamError: one cannot.
        """
        by_name = {column.name: column for column in columns}
        for name in self._targets:
            if name not in by_name:
                raise MmstreamError(f"--target {name}: {self._left_out[name]}")
            if not by_name[name].component.predicted_by:
                raise MmstreamError(
                    f"--target {name}: this column is read by a field of type {by_name[name].use!r}, and that type of "
                    "field cannot be predicted"
                )

    def _named_by_id(self, beside: bool) -> dict[str, Column]:
        """{column: guess} for a column whose values name pictures below the input's folder; {} if there is none.

        Args:
            beside: look only in the folder of the table that names them.
        """
        columns = self._sample.columns
        for name in sorted(columns, key=lambda name: not roles.is_like_an_id(name)):
            placed = self._sample.placed(name)
            may_be = name not in self._targets and roles.may_name_files(name, placed)
            reference = self._pictures.reference(placed) if may_be else None
            if not reference or (beside and not reference.startswith("{folder}")):
                continue
            column = look_at(name, columns[name], self._media, reference, [folder for _, folder in placed])
            if column is not None and column.component.media:
                if self._id is None and len(set(map(str, columns[name]))) == len(self._sample.rows):
                    self._id = name
                return {name: column}
        return {}

    @property
    def _given_splits(self) -> dict[str, Any]:
        """The keys of `split` if the data say which split a row belongs to; {} if they do not."""
        return {"column": self._split} if self._split else {"by_file": True} if self._by_file else {}

    @property
    def _folders(self) -> bool:
        """Whether any row is in a table in a folder below the input."""
        return any(map(self._media.folder_of, (record.origin for record in self._sample.records)))

    def _predicted(self) -> tuple[list[Column], str]:
        """The columns to predict, and why."""
        if self._targets:
            return [column for column in self._columns if column.name in self._targets], "--target"
        columns = self._columns
        media = [column for column in columns if column.component.media]
        predictable = [column for column in columns if column.component.predicted_by]
        closed = [column for column in predictable if column.component.predicted_by != "caption"]
        texts = [column for column in predictable if column not in closed]
        named = [column for column in closed if roles.is_of_a_target(column.name)]
        if named and len(columns) > len(named):
            return named, "its name says that it is a target"
        if media and closed:
            return closed, "next to media, a column with few values is a target"
        if closed and len(columns) > 1:
            return closed[-1:], self._why_last(closed)
        if media and texts:
            return texts[:1], "if all columns are media or text, the first text is a caption"
        return [], ""

    def _why_last(self, closed: Sequence[Column]) -> str:
        """Why the last of the columns that can be predicted is the target."""
        if len(closed) == 1:
            return "no other column can be predicted"
        last = closed[-1].name == list(self._sample.columns)[-1]
        return f"the last column{'' if last else ' that can be predicted'} is usually the target of a table"

    def _leave_out_what_fails(self) -> None:
        """Decode a sample of each column, and leave out columns with mostly unreadable values."""
        for column in self._columns:
            tried, failed, why = trial.failures(column, self._sample.records, self._media)
            if failed and column.component.media:
                values = self._sample.columns[column.name]
                why = (self._unread.why_no_id if column.reference else self._unread.why_no_path)(values) or why
            if 2 * failed > tried:
                self._leave_out(column, f"{failed} of {tried} values cannot be read: {why}")
                if column.component.media:
                    self._without_pictures = f"{column.name}: {why}"
            elif failed:
                self._notes.append(f"{column.name}: {failed} of {tried} rows tried would be dead letters ({why})")

    def _note_pictures_that_no_column_names(self) -> None:
        """Add a note on pictures below the input's folder if no column names any."""
        has_media = self._without_pictures or any(column.component.media for column in self._columns)
        if self._sample.files and not has_media and (count := len(self._pictures.paths)):
            where = patterns.input_folder(self._path)
            self._notes.append(f"no column names the {count:,} pictures in {where}, so they are not read")

    def _note_how_the_sample_is_read(self) -> None:
        """Add notes on what is unexpected about the rows: generated names, another encoding, files that differ."""
        if "names" in self._sample.parameters:
            self._notes.append("the first line looks like a row, not column names: `source.names` names the columns")
        if self._sample.why:
            self._notes.append(self._sample.why)
        if len(set(map(frozenset, self._sample.files.values()))) > 1:
            held = listed(f"{name} ({listed(sorted(columns), 5)})" for name, columns in self._sample.files.items())
            self._notes.append(f"files have different columns; if they are not one table, name one of them: {held}")
        if self._sample.unread:
            self._notes.append(f"rows that cannot be read: {self._sample.unread:,}; the first: {self._sample.problem}")

    def _leave_out_copies_of_targets(self) -> None:
        """Leave out inputs that repeat a target, spelled differently or in another unit."""
        rows = self._sample.rows
        targets, _ = self._predicted()
        target_values = {target.name: [row.get(target.name) for row in rows] for target in targets}
        for column in self._columns:
            if column.name in target_values or column.component.media:
                continue
            column_values = [row.get(column.name) for row in rows]
            for name, values in target_values.items():
                if roles.say_the_same(column_values, values):
                    self._leave_out(column, f"it repeats the target {name}")
                elif not roles.in_another_unit(column_values, values):
                    continue
                elif roles.share_a_word(column.name, name):
                    self._leave_out(column, f"it holds the target {name} in another unit")
                else:
                    self._notes.append(
                        f"{column.name} holds the target {name} in another unit, or determines it exactly: leave "
                        "this column out if it is not known before labelling"
                    )
                break

    def _leave_out(self, column: Column, why: str) -> None:
        if column.name in self._targets:
            raise MmstreamError(f"--target {column.name}: {why}")
        self._left_out[column.name] = why
        self._columns = [other for other in self._columns if other != column]


def _are_split_by_file(sample: Sample) -> bool:
    """Whether all tables' paths name splits, at least two, and no table lacks a column of the training tables."""
    named = {origin: split_of_file(origin) for origin in sample.files}
    trained = {name for origin, columns in sample.files.items() if named[origin] == "train" for name in columns}
    splits = set(named.values())
    return (
        None not in splits and bool(trained) and len(splits) > 1 and all(map(trained.issubset, sample.files.values()))
    )


def _is_closed(column: Column) -> bool:
    """Whether a column holds categories, tags or numbers, rather than texts or media."""
    return not column.component.media and column.component.predicted_by != "caption"
