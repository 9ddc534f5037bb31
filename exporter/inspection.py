"""What a SavedModel or a Keras model holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from attnexport.core.errors import ModelError
from attnexport.core.signature import Signature
from attnexport.core.signature_def import read_signature
from attnexport.store.files import size_of

from .endpoints import output_names
from .model_inputs import input_names
from .models.traits import computes_in, flat_layers
from .programs import MetaGraphs, operators_of, read_saved_model
from .warmup import count_warmup


@dataclass(frozen=True)
class SavedModelInspection:
    """The content of a SavedModel.

    `operators` maps each operator to its count, `variable_bytes` each dtype to its bytes.
    """

    size_bytes: int
    signatures: tuple[Signature, ...]
    operators: Mapping[str, int]
    variable_bytes: Mapping[str, int]
    warmup_records: int


@dataclass(frozen=True)
class KerasInspection:
    """The content of a Keras model.

    Inputs and outputs have the names that an export gives them. `layers` maps each class to its count, `weight_bytes`
    each dtype to its bytes; `size_bytes` is the file's size.
    """

    size_bytes: int | None
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: Mapping[str, int]
    weight_bytes: Mapping[str, int]
    computes_in: tuple[str, ...]


def inspect_saved_model(path: Path) -> SavedModelInspection:
    """Inspect a SavedModel by reading its graph; nothing of it runs.

    Raises:
        ModelError: if its graph cannot be read.
    """
    saved_model = read_saved_model(path)
    if saved_model is None:
        raise ModelError(f"{path} is not a SavedModel, or damaged: its saved_model.pb cannot be read")
    meta_graph = MetaGraphs(saved_model).find(["serve"])
    if meta_graph is None:
        raise ModelError(f"{path} has no graph with the tag 'serve', which TF Serving requires")
    operators = dict(Counter(operators_of(meta_graph.graph_def)))
    definitions = sorted(meta_graph.signature_def.items())
    signatures = tuple(each for name, definition in definitions if (each := read_signature(name, definition)))
    variables: Counter[str] = Counter()
    prefix = path / "variables" / "variables"
    if prefix.with_suffix(".index").exists():
        reader = tf.train.load_checkpoint(str(prefix))
        types = reader.get_variable_to_dtype_map()
        for name, shape in reader.get_variable_to_shape_map().items():
            if types[name] != tf.string:  # the checkpoint's description of its objects
                variables[types[name].name] += int(np.prod(shape, dtype=np.int64)) * types[name].size
    return SavedModelInspection(size_of(path), signatures, operators, dict(variables), count_warmup(path))


def inspect_keras(model: Any, file: Path | None = None) -> KerasInspection:
    """Inspect a Keras model and the file it came from."""
    layers = Counter(type(layer).__name__ for layer in flat_layers(model)[1:])
    weights: Counter[str] = Counter()
    for weight in model.weights:
        weights[str(weight.dtype)] += int(np.prod(weight.shape, dtype=np.int64)) * tf.dtypes.as_dtype(weight.dtype).size
    inputs, outputs = (
        tuple(
            f"{name}: {each.dtype} {list(each.shape)}".replace("None", "?")
            for name, each in zip(exported(model), tensors, strict=True)
        )
        if (tensors := getattr(model, kind, None))
        else ()
        for kind, exported in (("inputs", input_names), ("outputs", output_names))
    )
    return KerasInspection(
        size_of(file) if file else None,
        model.name,
        inputs,
        outputs,
        dict(layers),
        dict(weights),
        tuple(sorted(computes_in(model))),
    )
