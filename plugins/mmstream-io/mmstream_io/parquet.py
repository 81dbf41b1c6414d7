"""Label rows as Parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow
import pyarrow.parquet

from mmstream.interfaces import LabelType, Sink

_TYPES = {
    "string": pyarrow.string(),
    "number": pyarrow.float64(),
    "strings": pyarrow.list_(pyarrow.string()),
    "numbers": pyarrow.list_(pyarrow.float32()),
}


class Parquet(Sink):
    """One Parquet file, zstd-compressed: "string" is string, "number" double, "strings" and "numbers" (float) lists."""

    suffix = ".parquet"

    def dumps(self, rows: Sequence[Mapping[str, Any]], schema: Mapping[str, LabelType]) -> bytes:
        """The file; columns in the schema's order, null where a row lacks one."""
        arrow = pyarrow.schema([(name, _TYPES[kind]) for name, kind in schema.items()])
        table = pyarrow.Table.from_pylist(list(rows), schema=arrow)
        out = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(table, out, compression="zstd")
        return out.getvalue().to_pybytes()

    def loads(self, data: bytes) -> list[dict[str, Any]]:
        """The rows."""
        return pyarrow.parquet.read_table(pyarrow.BufferReader(data)).to_pylist()
