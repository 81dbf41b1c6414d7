"""Loading the fitted tensorflow-transform graph. It is code, so it is first checked against an allowlist."""

from __future__ import annotations

import atexit
import contextlib
import posixpath
from collections.abc import Iterable, Mapping
from typing import Any

from mmstream.errors import MmstreamError
from mmstream.runtime import scratch
from mmstream.storage import files

_PATTERN = set("*?[]")
_OPERATIONS = """
Assert Const ConstV2 If Identity IdentityN NoOp PartitionedCall StatefulPartitionedCall StatelessIf StatelessWhile
While HashTableV2 InitializeTableFromTextFileV2 LookupTableExportV2 LookupTableFindV2 LookupTableSizeV2
AssignVariableOp ReadVariableOp VarHandleOp VarIsInitializedOp

BatchToSpaceND Bitcast BroadcastArgs BroadcastTo Concat ConcatOffset ConcatV2 Diag DiagPart EditDistance EnsureShape
ExpandDims Fill Fingerprint Gather GatherNd GatherV2 InvertPermutation ListDiff LowerBound MatrixBandPart
MatrixDiagPartV3 MatrixDiagV3 MatrixSetDiagV3 MirrorPad OneHot OnesLike Pack Pad PadV2 Rank Reshape ReverseSequence
ReverseV2 ScatterNd Shape ShapeN Size Slice SpaceToBatchND Split SplitV Squeeze StopGradient StridedSlice
TensorScatterAdd TensorScatterMax TensorScatterMin TensorScatterSub TensorScatterUpdate Tile Transpose Unique UniqueV2
UniqueWithCounts UniqueWithCountsV2 Unpack UpperBound Where ZerosLike

Abs Acos Acosh Add AddN AddV2 All Any ApproximateEqual ArgMax ArgMin Asin Asinh Atan Atan2 Atanh BatchMatMulV2
BatchMatMulV3 Betainc Bincount BitwiseAnd BitwiseOr BitwiseXor BoostedTreesBucketize Bucketize Cast Ceil ClipByValue
Cos Cosh Cross Cumprod Cumsum CumulativeLogsumexp DenseBincount Digamma Div DivNoNan Elu Equal Erf Erfc Erfinv
EuclideanNorm Exp Expm1 Floor FloorDiv FloorMod Greater GreaterEqual HistogramFixedWidth Igamma Igammac Invert
IsFinite IsInf IsNan LeftShift Less LessEqual Lgamma LinSpace Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr
MatMul Max Maximum Mean Min Minimum Mod Mul MulNoNan Ndtri Neg NextAfter NotEqual Polygamma PopulationCount Pow Prod
Range RealDiv Reciprocal Relu Relu6 RightShift Rint Round Rsqrt SegmentMax SegmentMean SegmentMin SegmentProd
SegmentSum Select SelectV2 Selu Sigmoid Sign Sin Sinh Softmax Softplus Softsign Sqrt Square SquaredDifference Sub Sum
Tan Tanh TopKV2 TruncateDiv TruncateMod UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum
Xdivy Xlog1py Xlogy Zeta

AsString DecodeBase64 EncodeBase64 ReduceJoin RegexFullMatch RegexReplace StaticRegexFullMatch StaticRegexReplace
StringFormat StringJoin StringLength StringLower StringNGrams StringSplit StringSplitV2 StringStrip StringToHashBucket
StringToHashBucketFast StringToHashBucketStrong StringToNumber StringUpper Substr UnicodeDecode
UnicodeDecodeWithOffsets UnicodeEncode UnicodeScript UnicodeTranscode UnsortedSegmentJoin

DenseToDenseSetOperation DenseToSparseSetOperation RaggedBincount RaggedCross RaggedFillEmptyRows RaggedGather
RaggedRange RaggedTensorToSparse RaggedTensorToTensor SetSize SparseAdd SparseBincount SparseConcat SparseCross
SparseCrossHashed SparseCrossV2 SparseDenseCwiseAdd SparseDenseCwiseDiv SparseDenseCwiseMul SparseFillEmptyRows
SparseReduceMax SparseReduceMaxSparse SparseReduceSum SparseReduceSumSparse SparseReorder SparseReshape
SparseSegmentMean SparseSegmentSqrtN SparseSegmentSum SparseSlice SparseSoftmax SparseSparseMaximum
SparseSparseMinimum SparseSplit SparseTensorDenseAdd SparseTensorDenseMatMul SparseToDense SparseToSparseSetOperation
"""
_ALLOWED = frozenset(_OPERATIONS.split())
"""The operations that a fitted transform may have: calls and branches, vocabularies, constants; arrays; mathematics;
texts; sparse and ragged tensors. None of them reaches a file, Python or the network, except for the files of
vocabularies, and `_check_tables` ensures that these are the graph's own."""
_CLASSES = frozenset(["", "tf.StaticHashTable", "tf.TrackableConstant"])
"""The classes that TensorFlow may instantiate when it loads the graph."""


class TransformGraph:
    """The fitted transform as a function: {raw column: tf.SparseTensor} → {"<field>/<tensor>": tf.Tensor}.

    Args:
        loaded: the SavedModel, which owns the tables and constants.
    """

    def __init__(self, loaded: Any) -> None:
        self.loaded = loaded

    def __call__(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Apply the transform to a batch."""
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
        _check(saved, path)
        return TransformGraph(tf.saved_model.load(_readable(path)))
    except (OSError, DecodeError, ValueError) as error:
        raise MmstreamError(f"the fitted transform {path} cannot be loaded: {error}") from error


def _readable(path: str) -> str:
    """A path from which TensorFlow can load a SavedModel: it takes that of the weights for a pattern.

    Where the name of a folder has characters of patterns, the path is that of a copy, which remains until the process
    ends, as an export copies the vocabularies from there.
    """
    if not _PATTERN & set(path):
        return path
    until_the_end = contextlib.ExitStack()
    copy = until_the_end.enter_context(scratch.folder())
    atexit.register(until_the_end.close)
    for name in files.list_files(path):
        place = copy / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(files.read_bytes(files.join(path, name)))
    return str(copy)


def _check(saved: Any, path: str) -> None:
    """Check that every operation that loading and calling a SavedModel can run is on the allowlist.

    TensorFlow loads the functions of the object graph and what they call. The nodes beside them and the functions that
    write and read checkpoints are for other loaders, and are not run.

    Raises:
        MmstreamError: one is not.
    """
    if len(saved.meta_graphs) != 1 or not saved.meta_graphs[0].object_graph_def.nodes:
        raise MmstreamError(f"{path} is not loaded: it is not in the format that `mmstream preprocess` writes")
    (graph,) = saved.meta_graphs
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    reached = _reached(functions, graph.object_graph_def.concrete_functions)
    operations = {node.op for name in reached for node in functions[name].node_def} - functions.keys()
    classes = {name for node in graph.object_graph_def.nodes for name in (node.registered_name, node.registered_saver)}
    refused = sorted((operations - _ALLOWED) | (classes - _CLASSES))
    if refused:
        raise MmstreamError(
            f"{path} is not loaded: a fitted transform may only do computations, but this one has the operations "
            f"{', '.join(refused)}"
        )
    _check_tables(graph, [functions[name] for name in reached], path)


def _reached(functions: Mapping[str, Any], names: Iterable[str]) -> set[str]:
    """The functions with these names, and all that they call, directly or indirectly."""
    reached: set[str] = set()
    waiting = [name for name in names if name in functions]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        for node in functions[name].node_def:
            called = [node.op, *(f.name for value in node.attr.values() for f in (value.func, *value.list.func))]
            waiting += [each for each in called if each in functions]
    return reached


def _check_tables(graph: Any, functions: Iterable[Any], path: str) -> None:
    """Check that vocabularies are read only from the graph's own assets.

    Raises:
        MmstreamError: one is read from another file.
    """
    nodes = graph.object_graph_def.nodes
    captured = {name: list(each.bound_inputs) for name, each in graph.object_graph_def.concrete_functions.items()}
    for function in functions:
        arguments = [argument.name for argument in function.signature.input_arg]
        bound = captured.get(function.signature.name, [])
        assets = {
            name
            for name, place in zip(arguments[len(arguments) - len(bound) :], bound, strict=True)
            if nodes[place].WhichOneof("kind") == "asset"
        }
        for node in function.node_def:
            if node.op == "InitializeTableFromTextFileV2" and node.input[1] not in assets:
                raise MmstreamError(f"{path} is not loaded: it fills a table from a file that is not one of its assets")
    strange = [asset.filename for asset in graph.asset_file_def if posixpath.basename(asset.filename) != asset.filename]
    if strange:
        raise MmstreamError(f"{path} is not loaded: {strange[0]!r} is not the name of an asset")
