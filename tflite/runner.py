"""A Runner over a .tflite in the LiteRT interpreter."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from attnexport.core.errors import ArgumentError, ContentError, ModelError, SamplesError, first_line
from attnexport.core.reading import read_bytes
from attnexport.core.runner import find_signature
from attnexport.core.signature import DEFAULT_SIGNATURE, Array, Arrays, Signature, TensorSpec

from .tensor_signatures import tensor_signatures

MAX_FILE_BYTES = 1 << 34  # of a .tflite; a flatbuffer has 2 GB, and large constants may follow it
_HEAD_BYTES = 8  # its identifier is in them
# What the interpreter's messages mean.
_REASONS = {
    "XNNPack delegate failed to reshape runtime": "an input has a shape that the file was not converted for",
    "gather index out of bounds": "the batch dimension is missing, or an index is outside its table",
    "Select TensorFlow op": "it holds TensorFlow's own operators (Flex), which no interpreter in Python has",
}


class TFLiteRunner:
    """Runs the signatures of a .tflite.

    Shapes are those of the file; `core.batched` feeds any number of samples. Quantized inputs and outputs are float32
    here, unless `raw`.

    Args:
        source: The file, or its content.
        threads: Threads of the interpreter.
        raw: Take and return quantized tensors as integers.
        by_tensors: Run a file without signatures, too, by those in its metadata or the names of its tensors.

    Raises:
        ArgumentError: if the file does not exist.
        ModelError: if it is not a .tflite, or is damaged, or a call fails. Some damage crashes the process instead;
            check files from elsewhere with `read_graph` and `probe` first.
        SamplesError: from a call whose inputs do not fit, or have NaN or infinity for a quantized input.

    Example:
        >>> import tensorflow as tf
        >>> twice = tf.function(lambda x: {"y": x + x}, [tf.TensorSpec((1, 3), tf.float32, name="x")])
        >>> tf.saved_model.save(tf.Module(), "model", signatures=twice)
        >>> runner = TFLiteRunner(tf.lite.TFLiteConverter.from_saved_model("model").convert())
        >>> runner.run({"x": np.ones((1, 3), np.float32)})["y"].tolist()
        [[2.0, 2.0, 2.0]]
    """

    def __init__(
        self, source: str | Path | bytes, *, threads: int = 1, raw: bool = False, by_tensors: bool = False
    ) -> None:
        self._name = "the .tflite" if isinstance(source, bytes) else str(source)
        self._raw = raw
        self._source = source
        if self._head()[4:8] != b"TFL3":
            raise ModelError(f"{self._name} is not a .tflite file (its identifier is missing)")
        try:
            self._interpreter: Any = self._load(threads)
            names = self._interpreter.get_signature_list()
            self._runners: dict[str, Any] = {name: self._interpreter.get_signature_runner(name) for name in names}
            self._details = {
                name: (runner.get_input_details(), runner.get_output_details())
                for name, runner in self._runners.items()
            }
            if by_tensors and not names:
                self._details = tensor_signatures(self._interpreter, self._whole())
            self._signatures = {
                name: Signature(name, self._specs(takes), self._specs(gives))
                for name, (takes, gives) in self._details.items()
            }
            if len(self._runners) == 1 and not self.is_resizable:
                self._runners.clear()  # while there are some, the interpreter itself must not be called
        except (ValueError, RuntimeError, LookupError, TypeError) as error:  # also from the details of a damaged file
            raise ModelError(f"{self._name} does not load: {_reason(error)}") from error
        if not self._signatures:
            raise ModelError(f"{self._name} has no signatures; convert it again from a SavedModel")

    @property
    def signatures(self) -> Mapping[str, Signature]:
        return self._signatures

    def run(self, inputs: Arrays, signature: str = DEFAULT_SIGNATURE) -> Arrays:
        if self._interpreter is None:
            raise ArgumentError(f"{self._name} was closed")
        find_signature(self._signatures, signature).check_inputs(inputs)
        takes, gives = self._details[signature]
        arrays = {
            # Unlike ascontiguousarray, which gives a scalar a dimension.
            name: self._quantized(np.asarray(array, order="C"), takes[name], name)
            for name, array in inputs.items()
        }
        try:
            outputs = self._invoke(signature, arrays)
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{self._name}: signature {signature!r} fails: {_reason(error)}") from error
        return {name: self._dequantized(array, gives[name]) for name, array in outputs.items()}

    def close(self) -> None:
        self._runners, self._interpreter = {}, None

    def _head(self) -> bytes:
        """How the file begins."""
        source = self._source
        return source[:_HEAD_BYTES] if isinstance(source, bytes) else read_file(source, only_head=True)

    def _whole(self) -> bytes:
        return self._source if isinstance(self._source, bytes) else read_file(self._source)

    def _load(self, threads: int) -> Any:
        """An interpreter that is ready to run."""
        interpreter = self._open(self._whole(), threads)
        interpreter.allocate_tensors()
        return interpreter

    def _open(self, content: bytes, threads: int) -> Any:
        """An interpreter."""
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter(model_content=content, num_threads=threads)

    def _invoke(self, signature: str, inputs: Arrays) -> Arrays:
        """One call, with tensors of the types in the file."""
        if signature in self._runners:
            outputs: Arrays = self._runners[signature](**inputs)
            return outputs
        # The only signature is the graph itself, and its shapes are allocated: three calls instead of five.
        takes, gives = self._details[signature]
        for name, array in inputs.items():
            self._interpreter.set_tensor(takes[name]["index"], array)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(detail["index"]) for name, detail in gives.items()}

    @property
    def is_resizable(self) -> bool:
        """Whether an input has free dimensions."""
        return any(-1 in detail["shape_signature"] for takes, _ in self._details.values() for detail in takes.values())

    def _specs(self, details: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        return tuple(self._spec(name, detail) for name, detail in details.items())

    def _spec(self, name: str, detail: Mapping[str, Any]) -> TensorSpec:
        shape = tuple(None if size < 0 else int(size) for size in detail["shape_signature"])
        if len(shape) != len(detail["shape"]):
            shape = tuple(int(size) for size in detail["shape"])
        dtype = "string" if detail["dtype"] in (np.bytes_, np.str_, object) else np.dtype(detail["dtype"]).name
        return TensorSpec(name, dtype if self._raw or not _scale(detail) else "float32", shape)

    def _quantized(self, array: Array, detail: Mapping[str, Any], name: str) -> Array:
        scale, zero = detail["quantization"]
        if self._raw or not _scale(detail):
            return array
        if not np.isfinite(array).all():  # it would become some integer, and the output look normal
            dtype = np.dtype(detail["dtype"]).name
            raise SamplesError(f"input {name!r} holds NaN or infinity, which {dtype} does not have; pass finite values")
        bounds = np.iinfo(detail["dtype"])
        integers = np.clip(np.round(array / scale) + zero, bounds.min, bounds.max)
        return np.asarray(integers, detail["dtype"])

    def _dequantized(self, array: Array, detail: Mapping[str, Any]) -> Array:
        scale, zero = detail["quantization"]
        if self._raw or not _scale(detail):
            return array
        return ((array.astype(np.float32) - np.float32(zero)) * np.float32(scale)).astype(np.float32)


def read_file(path: str | Path, *, only_head: bool = False) -> bytes:
    """The content of a file, or the few bytes that it begins with.

    Raises:
        ArgumentError: if it does not exist.
        ModelError: if it cannot be read.
    """
    try:
        if only_head:
            with Path(path).open("rb") as file:
                return file.read(_HEAD_BYTES)
        return read_bytes(Path(path), MAX_FILE_BYTES)
    except FileNotFoundError as error:
        raise ArgumentError(f"{path} does not exist") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    except ContentError as error:
        raise ModelError(str(error)) from error


def _scale(detail: Mapping[str, Any]) -> float:
    if detail["dtype"] is np.float32:  # most are, and this runs in each call
        return 0.0
    with contextlib.suppress(TypeError, ValueError):
        return float(detail["quantization"][0])
    return 0.0


def _reason(error: BaseException) -> str:
    text = str(error)
    return next(
        (f"{meaning} ({message})" for message, meaning in _REASONS.items() if message in text), first_line(error)
    )
