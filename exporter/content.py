"""Content hashes that identify an export although its bytes differ from process to process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from attnexport.core.errors import ModelError
from attnexport.core.reading import read_bytes
from attnexport.core.samples import content_hash
from attnexport.core.signature import Array, Arrays, Signature
from attnexport.store.kinds import graph_file

from .programs.reading import MAX_BYTES


def keras_hash(model: Any, weights: Arrays, labels: Sequence[str] | None, signatures: Mapping[str, Signature]) -> str:
    """The hash of a Keras model's weights, as `hashed_weights` gave them, its configuration, labels and signatures."""
    return _hash(_described(model, labels) | weights, signatures)


def saved_model_hash(saved_model: Path, signatures: Mapping[str, Signature]) -> str:
    """The hash of a SavedModel's graph, its variables by their names in its checkpoint, and its signatures."""
    return _hash(_files(saved_model), signatures)


def _described(model: Any, labels: Sequence[str] | None) -> Arrays:
    """What a model computes beside its weights, as far as Keras can write it down."""
    try:
        config = {key: each for key, each in json.loads(model.to_json()).items() if key != "compile_config"}
    except Exception:  # a user's get_config may raise anything; saving says so
        config = {}
    text = json.dumps([config, list(labels or ())], sort_keys=True)
    return {"config": np.frombuffer(text.encode(), np.uint8)}


def hashed_weights(model: Any) -> Arrays:
    """The hash of each weight by its Keras path, one weight in memory at a time."""
    hashes: Arrays = {}
    for variable in model.weights:
        key, number = variable.path, 0
        while key in hashes:  # two nested models may use one name
            number += 1
            key = f"{variable.path}#{number}"
        hashes[key] = np.frombuffer(content_hash({"": variable.numpy()}).encode(), np.uint8)
    return hashes


def _files(saved_model: Path) -> Arrays:
    arrays: Arrays = {"saved_model.pb": _graph(saved_model)}
    prefix = saved_model / "variables" / "variables"
    if prefix.with_suffix(".index").exists():
        reader = tf.train.load_checkpoint(str(prefix))
        for name in reader.get_variable_to_shape_map():
            if not isinstance(value := reader.get_tensor(name), bytes):  # the checkpoint's description of its objects
                arrays[name] = np.asarray(value)
    return arrays


def _graph(saved_model: Path) -> Array:
    """The bytes of its graph; under one name, whichever form they have."""
    file = graph_file(saved_model)
    if file is None:
        raise ModelError(f"{saved_model} has no graph any more")
    return np.frombuffer(read_bytes(file, MAX_BYTES), np.uint8)


def _hash(parts: Arrays, signatures: Mapping[str, Signature]) -> str:
    described = "\n".join(str(signatures[name]) for name in sorted(signatures))
    return content_hash({**parts, "signatures": np.frombuffer(described.encode(), np.uint8)})
