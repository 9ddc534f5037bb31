"""Which graphs take the same time for inputs of the same shapes, whatever the inputs hold."""

from __future__ import annotations

from typing import Any

from .programs import operators_of

# Operators whose work and whose outputs' sizes follow from the sizes of their inputs. A loop turns as often as a value
# says; Fill, Range, Tile or OneHot make as much as a value says; what reads strings takes as long as these are.
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


def is_steady(saved_model: Any) -> bool:
    """Whether every operator of a SavedModel message is known to be."""
    return saved_model is not None and all(
        operator in _STEADY for meta_graph in saved_model.meta_graphs for operator in operators_of(meta_graph.graph_def)
    )
