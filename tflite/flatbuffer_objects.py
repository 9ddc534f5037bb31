"""How many objects a .tflite makes: tables may be shared, so that a small file could be unpacked into endless ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_OBJECT_BYTES = 4  # of a file, for each object or number that is unpacked: the least that one takes if none is shared
_FREE = 1 << 16  # objects that any file may have


def check_objects(model: Any, size: int) -> None:
    """Refuse a flatbuffer that would be unpacked into far more objects than its bytes can hold.

    Args:
        model: The root table, not unpacked.
        size: Size of the file in bytes.

    Raises:
        ValueError: if it has so many.
    """
    most, objects = _FREE + size // _OBJECT_BYTES, 0
    for count in _counts(model):
        objects += count
        if objects > most:
            raise ValueError(f"it has {size:,} bytes, and more than {most:,} objects")


def _counts(model: Any) -> Iterator[int]:
    """The lengths of the vectors and texts, each as often as a table that has it is unpacked."""
    yield model.OperatorCodesLength() + model.BuffersLength() + model.MetadataLength() + model.SignatureDefsLength()
    for at in range(model.MetadataLength()):
        yield len(model.Metadata(at).Name() or b"") // _OBJECT_BYTES
    for at in range(model.SignatureDefsLength()):
        signature = model.SignatureDefs(at)
        yield signature.InputsLength() + signature.OutputsLength()
        for each in (signature.Inputs(place) for place in range(signature.InputsLength())):
            yield len(each.Name() or b"") // _OBJECT_BYTES
        for each in (signature.Outputs(place) for place in range(signature.OutputsLength())):
            yield len(each.Name() or b"") // _OBJECT_BYTES
    for at in range(model.SubgraphsLength()):
        subgraph = model.Subgraphs(at)
        yield subgraph.TensorsLength() + subgraph.OperatorsLength() + subgraph.InputsLength() + subgraph.OutputsLength()
        for each in (subgraph.Tensors(place) for place in range(subgraph.TensorsLength())):
            yield each.ShapeLength() + each.ShapeSignatureLength() + len(each.Name() or b"") // _OBJECT_BYTES
            quantization = each.Quantization()
            if quantization is not None:
                yield quantization.ScaleLength() + quantization.ZeroPointLength()
                yield quantization.MinLength() + quantization.MaxLength()
        for each in (subgraph.Operators(place) for place in range(subgraph.OperatorsLength())):
            yield each.InputsLength() + each.OutputsLength() + each.IntermediatesLength()
            yield each.CustomOptionsLength() + each.MutatingVariableInputsLength()
