"""The contents of a .tflite: tensors, operators, subgraphs and signatures as plain values."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from attnexport.core.errors import ArgumentError, ModelError, first_line, one_of
from attnexport.core.signature import Shape, Signature, TensorSpec

from .flatbuffer_check import check_model, text_of
from .flatbuffer_objects import check_objects
from .subgraph_check import calls

# Operators whose constants are the model's weights, as quantizers understand it.
WEIGHTED = frozenset(
    {
        "BATCH_MATMUL",
        "CONV_2D",
        "CONV_3D",
        "DEPTHWISE_CONV_2D",
        "EMBEDDING_LOOKUP",
        "FULLY_CONNECTED",
        "GATHER",
        "TRANSPOSE_CONV",
    }
)
CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE"})


@dataclass(frozen=True)
class Tensor:
    """A tensor of a subgraph.

    Attributes:
        name: Its name.
        dtype: Its type, such as `int8`.
        shape: Its shape, 1 for free dimensions.
        constant_bytes: Size of a constant; 0 if the tensor is computed.
        buffer: Number of its buffer; constants with the same buffer are the same.
        quantized: Whether it has a scale.
        declared: Its shape, None for free dimensions.
        affine: Scale and zero point, if the whole tensor has one of each.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    constant_bytes: int
    buffer: int
    quantized: bool
    declared: Shape = ()
    affine: tuple[float, int] | None = None


@dataclass(frozen=True)
class Operator:
    """An operator, by its kernel's name.

    Attributes:
        name: The kernel.
        inputs: Indices of tensors, missing ones left out.
        outputs: Indices of tensors.
        calls: Indices of the subgraphs that it runs; of a loop, its condition and its body.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    calls: tuple[int, ...] = ()


@dataclass(frozen=True)
class Subgraph:
    """The tensors and operators of one function, in execution order."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def activations(self, indices: tuple[int, ...]) -> list[int]:
        """The indices of computed tensors, without those of constants."""
        return [index for index in indices if not self.tensors[index].constant_bytes]

    def weights(self, operator: Operator) -> list[Tensor]:
        """The weight matrices of an operator: its constants of two dimensions or more."""
        if operator.name not in WEIGHTED:
            return []
        constants = (self.tensors[self._source(index)] for index in operator.inputs)
        return [each for each in constants if each.constant_bytes and len(each.shape) > 1]

    def function(self, name: str, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Signature:
        """The signature with these tensors, by name, as inputs and outputs.

        Raises:
            ModelError: if there are none.
        """
        takes, gives = (
            tuple(
                TensorSpec(each, self.tensors[at].dtype, self.tensors[at].declared) for each, at in sorted(of.items())
            )
            for of in (inputs, outputs)
        )
        try:
            return Signature(name, takes, gives)
        except ArgumentError as error:
            raise ModelError(f"{error}, without which it cannot be run") from error

    def _source(self, index: int) -> int:
        """The tensor before a DEQUANTIZE, through which float16 weights are read."""
        producer = self.producers.get(index)
        return producer.inputs[0] if producer is not None and producer.name == "DEQUANTIZE" else index

    @cached_property
    def producers(self) -> Mapping[int, Operator]:
        """The operator that computes each tensor."""
        return {index: operator for operator in self.operators for index in operator.outputs}


@dataclass(frozen=True)
class Graph:
    """A model.

    Attributes:
        subgraphs: Its functions.
        signatures: Index of each signature's subgraph, by name.
        min_runtime_version: The oldest TFLite runtime that runs it, if the file says so.
        tensors: Inputs and outputs of each signature: tensor indices by their names there.
    """

    subgraphs: tuple[Subgraph, ...]
    signatures: Mapping[str, int]
    min_runtime_version: str | None
    tensors: Mapping[str, tuple[Mapping[str, int], Mapping[str, int]]] = field(default_factory=dict)

    def signature(self, name: str) -> Signature:
        """A signature as it is in the file, with quantized types and fixed batch.

        Raises:
            ModelError: if no signature has that name, or it lacks inputs or outputs.
        """
        check_signature_names(self, (name,))
        return self.subgraphs[self.signatures[name]].function(name, *self.tensors[name])

    @property
    def operators(self) -> Iterator[tuple[Subgraph, Operator]]:
        """Every operator with its subgraph."""
        return ((subgraph, operator) for subgraph in self.subgraphs for operator in subgraph.operators)

    def called(self, number: int) -> tuple[int, ...]:
        """The subgraphs that a subgraph runs, directly or through others."""
        found: dict[int, None] = {}
        waiting = [number]
        while waiting:
            new = [each for operator in self.subgraphs[waiting.pop()].operators for each in operator.calls]
            waiting += [each for each in new if each not in found]
            found |= dict.fromkeys(new)
        return tuple(found)

    @property
    def flex_operators(self) -> list[str]:
        """Names of TensorFlow's own operators, which no Python interpreter runs since TensorFlow 2.20."""
        return sorted({operator.name for _, operator in self.operators if operator.name.startswith("Flex")})

    @property
    def constants(self) -> Iterator[Tensor]:
        """Every constant once, even if several subgraphs share it."""
        seen = set()
        for subgraph in self.subgraphs:
            for tensor in subgraph.tensors:
                if tensor.constant_bytes and tensor.buffer not in seen:
                    seen.add(tensor.buffer)
                    yield tensor


def parse_model(content: bytes) -> Any:
    """The flatbuffer as the generated objects of its schema.

    Raises:
        ModelError: if it is not a .tflite.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    if content[4:8] != b"TFL3":
        raise ModelError("not a .tflite file (its identifier is missing)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check_objects(flatbuffer_utils.schema_fb.Model.GetRootAs(content, 0), len(content))
            return flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    except Exception as error:  # on damaged files the generated code raises anything
        raise ModelError(f"a damaged .tflite file: {first_line(error)}") from error


def read_graph(content: bytes) -> Graph:
    """Read a .tflite.

    Raises:
        ModelError: if it is not a .tflite, or is damaged.
    """
    model = parse_model(content)
    try:
        check_model(model, len(content))
        return _graph(model)
    except Exception as error:  # as above
        raise ModelError(f"a damaged .tflite file: {first_line(error)}") from error


def scope_name(part: str) -> str:
    """A layer's name in a part of a tensor's name, to which Keras adds the number of the call."""
    return re.sub(r"_\d+$", "", part)


def check_signature_names(graph: Graph, names: tuple[str, ...]) -> None:
    """Refuse unknown signatures.

    Raises:
        ModelError: naming the signatures of the file.
    """
    for name in names:
        if name not in graph.signatures:
            raise ModelError(f"the .tflite has no signature {name!r}; it has {one_of(graph.signatures)}")


def _graph(model: Any) -> Graph:
    from ai_edge_litert.tools import flatbuffer_utils as utils

    names = [text_of(code.customCode) if code.customCode else utils.opcode_to_name(model, index)
             for index, code in enumerate(model.operatorCodes)]  # fmt: skip
    version = next(
        (
            text_of(model.buffers[each.buffer].data)
            for each in model.metadata or ()
            if each.name == b"min_runtime_version"
        ),
        None,
    )
    return Graph(
        tuple(_subgraph(model, subgraph, names) for subgraph in model.subgraphs),
        {text_of(each.signatureKey): int(each.subgraphIndex) for each in model.signatureDefs or ()},
        version,
        {text_of(each.signatureKey): (_named(each.inputs), _named(each.outputs)) for each in model.signatureDefs or ()},
    )


def _subgraph(model: Any, subgraph: Any, names: list[str]) -> Subgraph:
    operators = tuple(
        Operator(
            names[each.opcodeIndex],
            _indices(each.inputs),
            _indices(each.outputs),
            tuple(int(getattr(*call)) for call in calls(each)),
        )
        for each in subgraph.operators or ()
    )
    tensors = tuple(_tensor(model, each) for each in subgraph.tensors)
    return Subgraph(tensors, operators, _indices(subgraph.inputs), _indices(subgraph.outputs))


def _tensor(model: Any, tensor: Any) -> Tensor:
    from ai_edge_litert.tools import flatbuffer_utils as utils

    buffer = model.buffers[tensor.buffer]
    # Large constants lie behind the flatbuffer, where `data` does not see them.
    constant = len(buffer.data) if buffer.data is not None else int(buffer.size or 0)
    scales = _numbers(tensor.quantization and tensor.quantization.scale)
    zeros = _numbers(tensor.quantization and tensor.quantization.zeroPoint)
    shape = tuple(int(size) for size in (tensor.shape if tensor.shape is not None else ()))
    declared = tuple(int(size) for size in (tensor.shapeSignature if tensor.shapeSignature is not None else ()))
    return Tensor(
        text_of(tensor.name),
        utils.type_to_name(tensor.type).lower(),
        shape,
        constant,
        int(tensor.buffer),
        bool(scales),
        tuple(None if size < 0 else size for size in (declared if len(declared) == len(shape) else shape)),
        (scales[0], int(zeros[0])) if len(scales) == len(zeros) == 1 else None,
    )


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in (values if values is not None else ()))


def _named(maps: Any) -> dict[str, int]:
    return {text_of(each.name): int(each.tensorIndex) for each in maps or ()}


def _indices(indices: Any) -> tuple[int, ...]:
    return tuple(int(index) for index in (indices if indices is not None else ()) if index >= 0)
