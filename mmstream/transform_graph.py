"""Loading the fitted tensorflow-transform graph, which is code, after a look at what it can do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmstream import files
from mmstream.errors import MmstreamError

_STATEFUL = frozenset(
    (
        # Vocabularies: tables that are filled from the asset files.
        *("HashTableV2", "InitializeTableFromTextFileV2", "LookupTableFindV2", "LookupTableImportV2"),
        "LookupTableSizeV2",
        # Constants of the analysis.
        *("AssignVariableOp", "ReadVariableOp", "VarHandleOp", "VarIsInitializedOp"),
        # Control flow and checks.
        *("Assert", "If", "StatefulPartitionedCall", "While"),
        # What every SavedModel has to store and load its own variables.
        *("MergeV2Checkpoints", "RestoreV2", "SaveV2"),
    )
)
"""Operations with side effects that such a graph needs."""
_FORBIDDEN = frozenset(["MatchingFiles", "PyFuncStateless", "ReadFile"])
"""Operations that count as free of side effects and yet reach files or Python."""


class TransformGraph:
    """The fitted transform as a function: {raw column: tf.SparseTensor} → {"<field>/<tensor>": tf.Tensor}.

    Args:
        loaded: the SavedModel, which owns the tables and constants.
    """

    def __init__(self, loaded: Any) -> None:
        self.loaded = loaded

    def __call__(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Apply it to a batch."""
        return self.loaded.transform_fn(dict(inputs))


def load_transform_graph(path: str) -> TransformGraph:
    """Load `transform_fn/`, a SavedModel, without tensorflow-transform.

    Args:
        path: its directory.

    Raises:
        MmstreamError: it is damaged, or holds operations that reach beyond the graph (files, Python, the network).
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString(files.read_bytes(files.join(path, "saved_model.pb")))
        refused = sorted({operation for operation in _operations(saved) if not _is_harmless(operation)})
        if refused:
            raise MmstreamError(
                f"{path} is not loaded: a fitted transform computes, and nothing else, but this one has the operations "
                f"{', '.join(refused)}"
            )
        return TransformGraph(tf.saved_model.load(path))
    except (OSError, DecodeError, ValueError) as error:
        raise MmstreamError(f"the fitted transform {path} cannot be loaded: {error}") from error


def _operations(saved: Any) -> Iterator[str]:
    for graph in saved.meta_graphs:
        yield from (node.op for node in graph.graph_def.node)
        functions = {function.signature.name for function in graph.graph_def.library.function}
        for function in graph.graph_def.library.function:
            yield from (node.op for node in function.node_def if node.op not in functions)


def _is_harmless(operation: str) -> bool:
    from tensorflow.python.framework import op_def_registry

    if operation in _STATEFUL:
        return True
    known = op_def_registry.get(operation)
    return known is not None and not known.is_stateful and operation not in _FORBIDDEN
