"""A SavedModel for a server: the session of TF Serving's loading path, and nothing between it and the caller."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import get_model_metadata_pb2

from attnexport.core.errors import ModelError
from attnexport.core.signature import Arrays, Signature, fits, format_shape

from .runners import is_dense, signature_of, without_deprecations
from .tensorflow_errors import reason
from .warmup import RECORDS_PATH

_INVALID_ARGUMENT = 3
# Loops and branches of both kinds: those of TF 1 in the graph itself, those of TF 2 as functions.
_CONTROL_FLOW = frozenset(
    f"{prefix}{name}"
    for prefix, names in {
        "": "While If Case For Switch Merge Enter Exit NextIteration LoopCond",
        "Ref": "Switch Merge Enter Exit NextIteration",
        "Stateless": "While If Case",
    }.items()
    for name in names.split()
)
_OWN_THREADS, _CALLERS_THREAD = 0, -1  # RunOptions.inter_op_thread_pool


class CallError(ModelError):
    """A call of the session failed.

    Attributes:
        code: TensorFlow's, which are the canonical codes of google.rpc.Code.
    """

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class ServedSavedModel:
    """A SavedModel of TF 1 or 2, to be called by several threads at once.

    Beside SavedModelRunner it checks nothing (the server has) and runs each call in one thread, which for small
    models is the faster way: many requests share the cores anyhow. That thread is the caller's, which spares a small
    graph eight times what it computes; graphs with loops or branches, and those that may use several threads, run in
    the session's own.

    Args:
        path: The SavedModel.
        tags: Of the graph in it.
        intra_op_threads: Within an operator.
        inter_op_threads: Between operators.

    Raises:
        ModelError: where it cannot be loaded.
    """

    runtime = "TF1"

    def __init__(
        self, path: Path, tags: Sequence[str] = ("serve",), intra_op_threads: int = 1, inter_op_threads: int = 1
    ) -> None:
        self._path = path
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=intra_op_threads, inter_op_parallelism_threads=inter_op_threads
        )
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        self._callables: dict[tuple[str, tuple[str, ...]], Callable[..., Any]] = {}
        self._making = threading.Lock()
        try:
            with self._session.graph.as_default(), without_deprecations():
                meta_graph = tf.compat.v1.saved_model.load(self._session, list(tags), str(path))
            plain = inter_op_threads == 1 and not has_control_flow(meta_graph.graph_def)
            self._threads = _CALLERS_THREAD if plain else _OWN_THREADS
            self._definitions = dict(meta_graph.signature_def.items())
            self._signatures = {
                name: signature_of(name, definition)
                for name, definition in self._definitions.items()
                if is_dense(definition.inputs) and is_dense(definition.outputs)
            }
        except Exception as error:  # protobuf's, TensorFlow's and the operating system's
            self._session.close()
            raise ModelError(f"{path} does not load in a session: {reason(error)}") from error
        found = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in self._definitions.items():
            found.signature_def[name].CopyFrom(definition)
        self.definitions: bytes = found.SerializeToString(deterministic=True)

    @property
    def signatures(self) -> Mapping[str, Signature]:
        return self._signatures

    def run(self, inputs: Arrays, signature: str, outputs: Sequence[str] = ()) -> Arrays:
        """Run a signature on inputs of its names and dtypes.

        Args:
            inputs: Arrays by input name. Other names or dtypes than the signature's are not noticed.
            signature: Its name.
            outputs: Those that are wanted, all where empty.

        Raises:
            CallError: where a shape does not fit, or the graph fails.
        """
        spec = self._signatures[signature]
        for each in spec.inputs:
            given = inputs[each.name].shape
            if not fits(given, each.shape):  # a callable does not look, and may compute nonsense
                raise CallError(
                    f"input {each.name!r} of {signature!r} has shape {format_shape(given)}; "
                    f"{format_shape(each.shape)} is wanted",
                    _INVALID_ARGUMENT,
                )
        # In one order, or clients could have a callable made for each.
        names = tuple(each.name for each in spec.outputs if not outputs or each.name in outputs)
        call = self._callables.get((signature, names)) or self._make_callable(spec, names)
        try:
            values = call(*[_aligned(inputs[each.name]) for each in spec.inputs])
        except tf.errors.OpError as error:
            raise CallError(f"signature {signature!r} fails: {reason(error)}", int(error.error_code)) from error
        except (ValueError, TypeError) as error:  # a placeholder that is fed with another shape
            raise CallError(f"signature {signature!r} fails: {reason(error)}", _INVALID_ARGUMENT) from error
        return dict(zip(names, map(np.asarray, values), strict=True))

    def warmup_records(self) -> Iterator[bytes]:
        """The serialized PredictionLogs that lie in the SavedModel; none where it has none.

        Raises:
            ModelError: where the file is damaged.
        """
        path = self._path / RECORDS_PATH
        if not path.exists():
            return
        try:
            yield from tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        except tf.errors.OpError as error:
            raise ModelError(f"its warm-up records are damaged: {reason(error)}") from error

    def close(self) -> None:
        """Free the session; no call runs any more."""
        self._callables.clear()
        with contextlib.suppress(RuntimeError):  # closed before
            self._session.close()
        del self._session
        _give_back()

    def _make_callable(self, spec: Signature, names: tuple[str, ...]) -> Callable[..., Any]:
        definition = self._definitions[spec.name]
        options = config_pb2.CallableOptions()
        options.feed.extend(definition.inputs[each.name].name for each in spec.inputs)
        options.fetch.extend(definition.outputs[name].name for name in names)
        options.run_options.inter_op_thread_pool = self._threads
        with self._making:
            # make_callable, which is public, takes no such options.
            made: Callable[..., Any] = self._session._make_callable_from_options(options)
            self._callables[spec.name, names] = made
        return made


def _give_back() -> None:
    """Return freed memory to the system: a graph is a heap of cycles, and glibc keeps what many small pieces left."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another libc
        ctypes.CDLL(None).malloc_trim(0)


def _aligned(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What is read from a message may begin at any byte; TensorFlow takes longer over such than a copy does."""
    return array if array.flags.aligned else array.copy()


def has_control_flow(graph: Any) -> bool:
    """Whether a GraphDef, or a function of its library, loops or branches."""
    nodes = itertools.chain(graph.node, *(function.node_def for function in graph.library.function))
    return any(node.op in _CONTROL_FLOW for node in nodes)
