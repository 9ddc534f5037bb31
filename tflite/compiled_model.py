"""A Runner over a .tflite in LiteRT's CompiledModel, the interpreter's successor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from attnexport.core.errors import ModelError, first_line
from attnexport.core.signature import Array, Arrays

from .runner import TFLiteRunner

# XNNPACK's flags: 4 forces float16, beside 1 and 2, signed and unsigned int8, which it has by default.
_HALF = 7


class CompiledModelRunner(TFLiteRunner):
    """Runs the signatures of a .tflite with LiteRT's newer API, on this CPU.

    Signatures are read as TFLiteRunner reads them; calls go through CompiledModel.

    Args:
        path: The file.
        half: Compute what is float32 in the file in float16, as a phone's GPU does by default.

    Raises:
        ArgumentError: if the file does not exist.
        ModelError: if it is not a .tflite, or does not compile, or a call fails.
    """

    def __init__(self, path: Path, *, half: bool = False) -> None:
        super().__init__(path)
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.cpu_options import CpuOptions
        from ai_edge_litert.options import Options

        options = Options(cpu_options=CpuOptions(xnnpack_flags=_HALF)) if half else None
        try:
            self._compiled: Any = CompiledModel.from_file(str(path), options=options)
        except Exception as error:  # its errors are not documented
            raise ModelError(f"{path} does not compile: {first_line(error)}") from error

    def close(self) -> None:
        super().close()
        if self._compiled is not None:
            self._compiled.close()
            self._compiled = None

    def _invoke(self, signature: str, inputs: Arrays) -> Arrays:
        compiled = self._compiled
        given = {name: compiled.create_input_buffer_by_name(signature, name) for name in inputs}
        _, gives = self._details[signature]
        taken = {name: compiled.create_output_buffer_by_name(signature, name) for name in gives}
        try:
            for name, array in inputs.items():
                given[name].write(array)
            compiled.run_by_name(signature, given, taken)
            return {name: _read(taken[name], detail) for name, detail in gives.items()}
        except Exception as error:  # as above
            raise ModelError(
                f"{self._name}: signature {signature!r} fails in CompiledModel: {first_line(error)}"
            ) from error
        finally:
            for buffer in (*given.values(), *taken.values()):
                buffer.destroy()


def _read(buffer: Any, detail: Any) -> Array:
    shape = tuple(int(size) for size in detail["shape"])
    return np.array(buffer.read(int(np.prod(shape)), detail["dtype"])).reshape(shape)
