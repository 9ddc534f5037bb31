"""Which graphs take the same time for inputs of the same shapes, whatever the inputs hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .programs import node_of

# Operators whose work follows from the sizes of their inputs. A loop turns as often as a value says; Fill, Range, Tile
# or OneHot make as much as a value says; what reads strings takes as long as these are.
_NAMES = """
    Abs Add AddN AddV2 All Any ArgMax ArgMin AssignVariableOp AvgPool BatchMatMul BatchMatMulV2 BatchMatMulV3 BiasAdd
    Cast Ceil ClipByValue ConcatV2 Const Conv2D Cos Cumsum DepthwiseConv2dNative DisableCopyOnRead Div DivNoNan Einsum
    Elu Equal Erf Exp ExpandDims Expm1 Floor FloorDiv FloorMod FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Gather
    GatherNd GatherV2 Greater GreaterEqual Identity IdentityN IsFinite IsInf IsNan L2Loss LeakyRelu Less LessEqual Log
    Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul MatrixBandPart Max MaxPool Maximum Mean MergeV2Checkpoints
    Min Minimum Mul MulNoNan Neg NoOp NotEqual OnesLike Pack PartitionedCall Placeholder PlaceholderV2
    PlaceholderWithDefault Pow Prod Rank ReadVariableOp RealDiv Reciprocal Relu Relu6 Reshape ResourceGather RestoreV2
    ReverseV2 Rint Round Rsqrt SaveV2 Select SelectV2 Selu Shape ShapeN ShardedFilename Sigmoid Sign Sin Size Softmax
    Softplus Softsign Split SplitV Sqrt Square SquaredDifference Squeeze StatefulPartitionedCall
    StatelessPartitionedCall StaticRegexFullMatch StopGradient StridedSlice StringJoin Sub Sum Tan Tanh Transpose
    Unpack VarHandleOp VarIsInitializedOp VariableV2 ZerosLike
"""
_STEADY = frozenset(_NAMES.split())
# Of these the output's size follows from the values of some inputs, too, from the first of these on.
_SIZED_BY = {
    **dict.fromkeys(("All", "Any", "Max", "Mean", "Min", "Prod", "Sum"), 1),
    **dict.fromkeys(("ArgMax", "ArgMin", "ExpandDims", "Reshape", "SplitV", "StridedSlice"), 1),
}
# What these give does not follow from what inputs hold, nor does what is computed of it.
_SHAPES = frozenset({"Const", "Rank", "Shape", "ShapeN", "Size"})
_ARITHMETIC = """
    Add AddV2 Cast ConcatV2 ExpandDims FloorDiv GatherV2 Identity Maximum Minimum Mul Neg Pack Prod Reshape Squeeze
    StridedSlice Sub Sum
"""
_COMPUTED = frozenset(_ARITHMETIC.split())
_MAX_DEPTH = 100  # operators between a shape and what it decides


def is_steady(saved_model: Any) -> bool:
    """Whether every operator of a SavedModel message is known to be."""
    return saved_model is not None and all(
        _are_steady(nodes)
        for graph in (each.graph_def for each in saved_model.meta_graphs)
        for nodes in (graph.node, *(function.node_def for function in graph.library.function))
    )


def _are_steady(nodes: Sequence[Any]) -> bool:
    by_name = {node.name: node for node in nodes}
    known: dict[str, bool] = {}

    def is_shape(tensor: str, depth: int = 0) -> bool:
        """Whether a tensor follows from shapes alone; what a function is handed may be anything."""
        name = node_of(tensor)
        if name not in known:
            known[name] = False  # in a cycle
            node = by_name.get(name)
            known[name] = node is not None and (
                node.op in _SHAPES
                or (
                    node.op in _COMPUTED
                    and depth < _MAX_DEPTH
                    and all(is_shape(each, depth + 1) for each in node.input)
                )
            )
        return known[name]

    return all(
        node.op in _STEADY
        and (node.op not in _SIZED_BY or all(is_shape(each) for each in node.input[_SIZED_BY[node.op] :]))
        for node in nodes
    )
