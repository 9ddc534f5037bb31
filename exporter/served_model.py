"""A SavedModel for a server: the session of TF Serving's loading path, and nothing between it and the caller."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import get_model_metadata_pb2

from attnexport.core.errors import ContentError, ModelError
from attnexport.core.process import give_back
from attnexport.core.signature import Arrays, Signature
from attnexport.core.signature_def import read_signature
from attnexport.store.trust import trusting

from .executor import PLAIN_EXECUTOR, USUAL_EXECUTOR, executor_for
from .programs import check_program
from .quiet import quiet_tensorflow
from .steady import is_steady
from .tensorflow_errors import reason
from .warmup import read_records

_INVALID_ARGUMENT, _NOT_FOUND, _FAILED_PRECONDITION, _UNIMPLEMENTED, _DATA_LOSS = 3, 5, 9, 12, 15
_OWN_THREADS, _CALLERS_THREAD = 0, -1  # RunOptions.inter_op_thread_pool
_MOST_CALLABLES = 64  # each is a copy of the graph, and a client may ask for any of the outputs' subsets


class SessionError(ModelError):
    """A SavedModel does not load, or a call of its session failed.

    Attributes:
        code: TensorFlow's error code, a number of google.rpc.Code.
    """

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class _Callable(NamedTuple):
    """A signature, or some of its outputs, ready to be called."""

    takes: tuple[str, ...]
    gives: tuple[str, ...]
    call: Callable[..., Any]


class ServedSavedModel:
    """A SavedModel of TF 1 or 2, to be called by several threads at once.

    Unlike SavedModelRunner it checks nothing (the server has) and runs each call in one thread, which is faster for
    small models: many requests share the cores anyhow. That thread is the caller's, which spares a small graph eight
    times what it computes; with several threads between operators they are the session's own. It takes the executor
    that is faster for the graph.

    Args:
        path: The SavedModel.
        tags: Tags of the graph in it.
        intra_op_threads: Threads within an operator.
        inter_op_threads: Threads between operators.
        trust: Run it, even if it was made elsewhere and does more than compute.

    Attributes:
        runtime: The name of the runtime in metrics.
        strict_shapes: False: the graph decides which shapes it takes.
        is_steady: Whether calls with inputs of the same shapes take the same time, in their own thread.
        signatures: The signatures by name, those without inputs included.
        defaults: Default values of inputs, by signature and input name.
        definitions: All signatures as a serialized SignatureDefMap.

    Raises:
        SessionError: if it cannot be loaded, with the code that TensorFlow Serving's loader has.
    """

    runtime, strict_shapes = "TF1", False

    def __init__(
        self,
        path: Path,
        tags: Sequence[str] = ("serve",),
        intra_op_threads: int = 1,
        inter_op_threads: int = 1,
        *,
        trust: bool = False,
    ) -> None:
        self._path = path
        self._callables: dict[tuple[str, tuple[str, ...]], _Callable] = {}  # no names are all outputs
        self._making = threading.Lock()
        _check_files(path)
        self._threads = _CALLERS_THREAD if inter_op_threads == 1 else _OWN_THREADS
        try:
            with trusting(trust):
                program = check_program(path, tags)
        except ModelError as error:
            raise SessionError(str(error), _FAILED_PRECONDITION) from error
        executor = executor_for(program) if inter_op_threads == 1 else USUAL_EXECUTOR
        self.is_steady = executor == PLAIN_EXECUTOR and intra_op_threads == 1 and is_steady(program)
        self._session = _open_session(executor, intra_op_threads, inter_op_threads)
        try:
            with self._session.graph.as_default(), quiet_tensorflow():
                meta_graph = tf.compat.v1.saved_model.load(self._session, list(tags), str(path))
            self._definitions = dict(meta_graph.signature_def.items())
            self.signatures: Mapping[str, Signature] = {
                name: signature
                for name, definition in self._definitions.items()
                if (signature := read_signature(name, definition, inputless=True))
            }
            self.defaults: Mapping[str, Arrays] = {
                name: {key: tf.make_ndarray(value) for key, value in definition.defaults.items()}
                for name, definition in self._definitions.items()
                if definition.defaults
            }
        except Exception as error:  # protobuf's, TensorFlow's and the operating system's
            self._session.close()
            text = f"{path} does not load in a session: {reason(error)}"
            raise SessionError(text, _load_code(error)) from error
        definitions = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in self._definitions.items():
            definitions.signature_def[name].CopyFrom(definition)
        self.definitions: bytes = definitions.SerializeToString(deterministic=True)

    def run(self, inputs: Arrays, signature: str, outputs: Sequence[str] = ()) -> Arrays:
        """Run a signature on inputs of its names and dtypes.

        Args:
            inputs: Arrays by input name, of the dtypes of the signature, which is not checked. The graph decides
                whether it can compute their shapes.
            signature: The name of the signature.
            outputs: The names of the outputs to return; all if empty.

        Raises:
            SessionError: if the graph fails. The message begins with TensorFlow's.
        """
        # In the order of the signature, or clients could have a callable made for each.
        names = (
            tuple([each.name for each in self.signatures[signature].outputs if each.name in outputs]) if outputs else ()
        )
        try:
            function = self._callables.get((signature, names)) or self._make_callable(signature, names)
            # What is read from a message may begin at any byte; TensorFlow takes longer over such than a copy does.
            arrays = [array if (array := inputs[name]).flags.aligned else array.copy() for name in function.takes]
            values = function.call(*arrays)
        except tf.errors.OpError as error:
            raise SessionError(f"{reason(error)} (signature {signature!r})", int(error.error_code)) from error
        except UnicodeDecodeError as error:  # a message of TensorFlow's that quotes bytes; Python cannot raise it
            text = reason(ValueError(error.object.decode("utf-8", "replace")))
            raise SessionError(f"{text} (signature {signature!r})", _INVALID_ARGUMENT) from error
        except (ValueError, TypeError) as error:
            raise SessionError(f"{reason(error)} (signature {signature!r})", _INVALID_ARGUMENT) from error
        results = dict(zip(function.gives, map(np.asarray, values), strict=True))
        return {name: results[name] for name in names} if names and names != function.gives else results

    def warmup_records(self) -> Iterator[bytes]:
        """The serialized PredictionLogs in the SavedModel, if it has any.

        Raises:
            SessionError: if the file is damaged.
        """
        try:
            yield from read_records(self._path)
        except ContentError as error:
            raise SessionError(f"its warm-up records are damaged: {error}", _DATA_LOSS) from error
        except tf.errors.OpError as error:
            text = f"its warm-up records are damaged: {reason(error)}"
            raise SessionError(text, int(error.error_code)) from error

    def close(self) -> None:
        """Free the session; no call may be running."""
        self._callables.clear()
        with contextlib.suppress(RuntimeError):  # closed before
            self._session.close()
        del self._session
        give_back()

    def _make_callable(self, signature: str, names: tuple[str, ...]) -> _Callable:
        with self._making:  # each copies the graph, so there is one of each
            made = self._callables.get((signature, names))
            if made is None and names and len(self._callables) >= _MOST_CALLABLES:
                names = ()
                made = self._callables.get((signature, names))
            if made is None:
                spec, definition = self.signatures[signature], self._definitions[signature]
                takes = tuple(each.name for each in spec.inputs)
                gives = names or tuple(each.name for each in spec.outputs)
                options = config_pb2.CallableOptions()
                options.feed.extend(definition.inputs[name].name for name in takes)
                options.fetch.extend(definition.outputs[name].name for name in gives)
                options.run_options.inter_op_thread_pool = self._threads
                # make_callable, which is public, takes no such options.
                made = _Callable(takes, gives, self._session._make_callable_from_options(options))
                self._callables[signature, names] = made
        return made


def _check_files(path: Path) -> None:
    """Refuse what TensorFlow Serving's loader refuses before it reads a SavedModel, with its codes."""
    if (path / "export.meta").exists():
        raise SessionError(f"Session Bundle is deprecated and removed. {path} has an export.meta", _UNIMPLEMENTED)
    if not any((path / graph).is_file() for graph in ("saved_model.pb", "saved_model.pbtxt")):
        raise SessionError(
            "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
            f"`saved_model.pb`) Specified file path: {path}",
            _NOT_FOUND,
        )


def _load_code(error: Exception) -> int:
    """The code that TensorFlow Serving's loader has for a failure of TensorFlow's Python loader."""
    text = str(error)
    if "No such file" in text or "could not be found in SavedModel" in text or "not registered" in text:
        return _NOT_FOUND
    if isinstance(error, tf.errors.OpError):
        return int(error.error_code)
    if "not a valid checkpoint" in text:  # variables that stay uninitialized
        return _FAILED_PRECONDITION
    return _DATA_LOSS if "Cannot parse file" in text else _INVALID_ARGUMENT


def _open_session(executor: str, intra_op_threads: int, inter_op_threads: int) -> Any:
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=intra_op_threads, inter_op_parallelism_threads=inter_op_threads
    )
    config.experimental.executor_type = executor
    session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
    if executor == PLAIN_EXECUTOR and len(session.list_devices()) > 1:
        # Parts on other devices wait for each other, which one thread cannot.
        session.close()
        return _open_session(USUAL_EXECUTOR, intra_op_threads, inter_op_threads)
    return session
