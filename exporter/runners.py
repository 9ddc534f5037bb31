"""Runners of the exporter: the Keras model itself, and a SavedModel in a session, the way TF Serving runs it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from attnexport.core.errors import ModelError
from attnexport.core.runner import find_signature
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays, Signature
from attnexport.core.signature_def import METHOD_NAMES, read_signature

from .endpoint import TracedEndpoint
from .programs import check_program, operators_of
from .quiet import quiet_tensorflow
from .tensorflow_errors import reason


class KerasRunner:
    """Runs the endpoints of a live Keras model: what every artifact is compared with.

    Args:
        endpoints: The endpoints.
        in_graph: Run their graphs, and not the layers eagerly.
    """

    def __init__(self, endpoints: Sequence[TracedEndpoint], *, in_graph: bool = False) -> None:
        self._endpoints = {each.endpoint.name: each for each in endpoints}
        self.in_graph = in_graph

    @property
    def signatures(self) -> Mapping[str, Signature]:
        return {name: each.signature for name, each in self._endpoints.items()}

    def run(self, inputs: Arrays, signature: str = DEFAULT_SIGNATURE) -> Arrays:
        find_signature(self.signatures, signature).check_inputs(inputs)
        tensors = {name: tf.convert_to_tensor(array) for name, array in inputs.items()}
        traced = self._endpoints[signature]
        function = traced.function if self.in_graph else traced.endpoint.function
        try:
            outputs = function(tensors)
        except Exception as error:  # a user's layers may raise anything
            raise ModelError(f"Keras fails on signature {signature!r}: {reason(error)}") from error
        return {name: np.asarray(tf.convert_to_tensor(output)) for name, output in outputs.items()}

    def close(self) -> None:
        """Nothing to free: the caller owns the model."""


class SavedModelRunner:
    """Runs a SavedModel of TF 1 or 2 in a graph and session of its own: TF Serving's loading path.

    `tf.saved_model.load` would prove nothing: it also runs files that TF Serving cannot run.

    Args:
        path: The SavedModel's directory.
        own: This process wrote it, so that it is not read before it runs.

    Raises:
        ModelError: if it would do more than compute and was not made here, if it cannot be loaded, or a call fails.
    """

    def __init__(self, path: str | Path, *, own: bool = False) -> None:
        self._path = path = Path(path)
        if not own:
            check_program(path)
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        self._callables: dict[str, Callable[..., Any]] = {}
        try:
            with self._session.graph.as_default(), quiet_tensorflow():
                self._meta_graph = tf.compat.v1.saved_model.load(self._session, ["serve"], str(path))
            self._signatures = {
                name: signature
                for name, definition in self._meta_graph.signature_def.items()
                if (signature := read_signature(name, definition))
            }
        except Exception as error:  # protobuf's, TensorFlow's and the operating system's
            self._session.close()
            raise ModelError(f"{path} does not load in a session: {reason(error)}") from error

    @property
    def signatures(self) -> Mapping[str, Signature]:
        return self._signatures

    @property
    def unknown_methods(self) -> Mapping[str, str]:
        """The methods that are none of TF Serving's, by signature: it refuses to run such a signature."""
        methods = {name: self._meta_graph.signature_def[name].method_name for name in self._signatures}
        return {name: method for name, method in methods.items() if method not in METHOD_NAMES.values()}

    @property
    def operators(self) -> Mapping[str, int]:
        """The operators in the graph and its functions, with counts."""
        return Counter(operators_of(self._meta_graph.graph_def))

    def run(self, inputs: Arrays, signature: str = DEFAULT_SIGNATURE) -> Arrays:
        spec = find_signature(self._signatures, signature)
        spec.check_inputs(inputs)
        if signature not in self._callables:
            definition = self._meta_graph.signature_def[signature]
            self._callables[signature] = self._session.make_callable(
                [definition.outputs[each.name].name for each in spec.outputs],
                feed_list=[definition.inputs[each.name].name for each in spec.inputs],
            )
        try:
            outputs = self._callables[signature](*(inputs[each.name] for each in spec.inputs))
        except tf.errors.OpError as error:
            raise ModelError(f"{self._path}: signature {signature!r} fails: {reason(error)}") from error
        return dict(zip((each.name for each in spec.outputs), map(np.asarray, outputs), strict=True))

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):  # closed before
            self._session.close()


class EagerSavedModelRunner:
    """Runs a SavedModel by `tf.saved_model.load`, the way Python programs use one.

    Args:
        path: The SavedModel's directory.
        signatures: Its signatures, as a SavedModelRunner has them, which reads the program before it runs. The eager
            loader lacks the outputs' names and shapes.

    Raises:
        ModelError: if it cannot be loaded, or a call fails.
    """

    def __init__(self, path: Path, signatures: Mapping[str, Signature]) -> None:
        self._path, self._all = path, signatures
        try:
            self._loaded = tf.saved_model.load(str(path))
        except Exception as error:  # protobuf's, TensorFlow's and the operating system's
            raise ModelError(f"{path} does not load eagerly: {reason(error)}") from error

    @property
    def signatures(self) -> Mapping[str, Signature]:
        return {name: each for name, each in self._all.items() if name in self._loaded.signatures}

    def run(self, inputs: Arrays, signature: str = DEFAULT_SIGNATURE) -> Arrays:
        find_signature(self.signatures, signature).check_inputs(inputs)
        tensors = {name: tf.convert_to_tensor(array) for name, array in inputs.items()}
        try:
            outputs = self._loaded.signatures[signature](**tensors)
        except Exception as error:  # TensorFlow's, of many kinds
            raise ModelError(f"{self._path}: signature {signature!r} fails: {reason(error)}") from error
        return {name: output.numpy() for name, output in outputs.items()}

    def close(self) -> None:
        self._loaded = None
