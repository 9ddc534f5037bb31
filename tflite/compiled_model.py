"""A Runner over a .tflite in LiteRT's CompiledModel, the interpreter's successor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from attnexport.core.errors import ArgumentError, AttnexportError, ModelError, first_line
from attnexport.core.native_logs import without_native_logs
from attnexport.core.signature import Array, Arrays

from .runner import TFLiteRunner
from .weight_cache import with_weight_cache

_LARGE_BYTES = 4 << 20  # of a file that a cache of its weights pays for

# XNNPACK's flags: 4 forces float16, beside 1 and 2, signed and unsigned int8, which it has by default.
_HALF = 7


class CompiledModelRunner(TFLiteRunner):
    """Runs the signatures of a .tflite with LiteRT's newer API, on this CPU.

    Signatures are read as TFLiteRunner reads them; calls go through CompiledModel.

    Args:
        path: The file.
        half: Compute what is float32 in the file in float16, as a phone's GPU does by default.
        threads: Threads of a call.
        cached: Whether to map packed weights from a cache on disk, if there can be one. See `weight_cache`.

    Raises:
        ArgumentError: if the file does not exist.
        ModelError: if it is not a .tflite, or does not compile, or a call fails.
    """

    def __init__(self, path: Path, *, half: bool = False, threads: int = 1, cached: bool = False) -> None:
        if not path.exists():
            raise ArgumentError(f"{path} does not exist")
        self._compiled: Any = None
        self._buffers: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        super().__init__(path, threads=threads)

        def compile_with(cache: Path | None) -> Any:
            return _compile(path, threads, half, cache)

        self.has_cache = False
        if cached:
            self._compiled = with_weight_cache(path, compile_with, lambda compiled: compiled.close())
            self.has_cache = self._compiled is not None
        if self._compiled is None:
            self._compiled = compile_with(None)

    def close(self) -> None:
        super().close()
        for takes, gives in self._buffers.values():
            for buffer in (*takes.values(), *gives.values()):
                buffer.destroy()
        self._buffers.clear()
        if self._compiled is not None:
            with without_native_logs():
                self._compiled.close()
            self._compiled = None

    def _load(self, threads: int) -> Any:
        """An interpreter that can show the signatures, and packs no weights."""
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        return Interpreter(model_path=str(self._source), experimental_op_resolver_type=plain)

    def _invoke(self, signature: str, inputs: Arrays) -> Arrays:
        _, details = self._details[signature]
        try:
            takes, gives = self._buffers_of(signature)
            for name, array in inputs.items():
                takes[name].write(array)
            self._compiled.run_by_name(signature, takes, gives)
            return {name: _read(gives[name], detail) for name, detail in details.items()}
        except Exception as error:  # its errors are not documented
            raise ModelError(
                f"{self._name}: signature {signature!r} fails in CompiledModel: {first_line(error)}"
            ) from error

    def _buffers_of(self, signature: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Buffers of a signature, made at its first call."""
        if signature not in self._buffers:
            takes, gives = self._details[signature]
            self._buffers[signature] = (
                {name: self._compiled.create_input_buffer_by_name(signature, name) for name in takes},
                {name: self._compiled.create_output_buffer_by_name(signature, name) for name in gives},
            )
        return self._buffers[signature]


def open_tflite(path: Path, *, threads: int = 1, by_tensors: bool = False) -> TFLiteRunner:
    """The Runner that loads a file fastest: large ones with their packed weights from a cache, others as usual.

    Args:
        path: The .tflite.
        threads: Threads of a call.
        by_tensors: As of TFLiteRunner.

    Raises:
        ArgumentError: if the file does not exist.
        ModelError: if it does not load.

    Example:
        >>> import tensorflow as tf
        >>> twice = tf.function(lambda x: {"y": x + x}, [tf.TensorSpec((1, 3), tf.float32, name="x")])
        >>> tf.saved_model.save(tf.Module(), "model", signatures=twice)
        >>> content = tf.lite.TFLiteConverter.from_saved_model("model").convert()
        >>> _ = Path("model.tflite").write_bytes(content)
        >>> open_tflite(Path("model.tflite")).run({"x": np.ones((1, 3), np.float32)})["y"].tolist()
        [[2.0, 2.0, 2.0]]
    """
    if path.is_file() and os.path.getsize(path) >= _LARGE_BYTES:
        try:
            runner = CompiledModelRunner(path, threads=threads, cached=True)
        except AttnexportError:  # no signatures, or nothing that it compiles: the interpreter says what is wrong
            return TFLiteRunner(path, threads=threads, by_tensors=by_tensors)
        # Its buffers have the sizes in the file, and without a cache it has no advantage.
        if runner.has_cache and not runner.is_resizable:
            return runner
        runner.close()
    return TFLiteRunner(path, threads=threads, by_tensors=by_tensors)


def _compile(path: Path, threads: int, half: bool, cache: Path | None) -> Any:
    from ai_edge_litert.compiled_model import CompiledModel, CpuOptions, HardwareAccelerator, Options

    cpu = CpuOptions(
        num_threads=threads,
        xnnpack_flags=_HALF if half else None,
        xnnpack_weight_cache_path="" if cache is None else str(cache),
    )
    options = Options(hardware_accelerators=HardwareAccelerator.CPU, cpu_options=cpu)
    try:
        with without_native_logs():
            return CompiledModel.from_file(str(path), options=options)
    except Exception as error:  # its errors are not documented
        raise ModelError(f"{path} does not compile: {first_line(error)}") from error


def _read(buffer: Any, detail: Any) -> Array:
    shape = tuple(int(size) for size in detail["shape"])
    return np.array(buffer.read(int(np.prod(shape)), detail["dtype"])).reshape(shape)
