"""The section `split` of a config."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic

from mmstream.config.sections import Section, Share, Text


class SplitConfig(Section):
    """How records are divided: by a hash of the id or of `group`'s value, by `column`, or by the path of the file.

    Attributes:
        validation: share of the records that are in the validation split.
        test: share of the records that are in the test split.
        group: records with the same value here stay together.
        column: this column holds "train", "validation" or "test", in any usual spelling.
        by_file: a record's split is the name of its file, or of a folder that the file is in.
        near: whether records with near-equal pictures or texts stay together; or the fields that are compared.
    """

    validation: Share = 0.1
    test: Share = 0.1
    group: Text | None = None
    column: Text | None = None
    by_file: bool = False
    near: bool | Annotated[list[Text], pydantic.Field(min_length=1)] = False

    def keeps(self, field: str) -> bool:
        """Whether records with near-equal values of a field stay together."""
        return self.near is True or (self.near is not False and field in self.near)

    @pydantic.model_serializer(mode="wrap")
    def _without_default(self, dump: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out `near` at its default, which digests in older outputs and models do not know."""
        return {key: value for key, value in dump(self).items() if key != "near" or value is not False}

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> SplitConfig:
        if self.validation + self.test >= 1:
            raise ValueError("validation + test leave nothing to train on")
        others = self.group or {"validation", "test"} & self.model_fields_set
        if self.near and (self.column or self.by_file):
            given = "column" if self.column else "by_file"
            raise ValueError(
                f"`near` cannot be combined with `{given}`, which sets the splits; even without `near`, `mmstream "
                "preprocess` counts near-equal records in different splits"
            )
        if self.column and (others or self.by_file):
            raise ValueError(
                "`column` sets the splits; it cannot be combined with `group`, `validation`, `test` or `by_file`"
            )
        if self.by_file and others:
            raise ValueError("`by_file` sets the splits; it cannot be combined with `group`, `validation` or `test`")
        return self
