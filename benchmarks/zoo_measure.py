"""What the zoo measures by itself: it runs and compares files with nothing of attnexport, so that both can disagree."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]


def run_tflite(path: Path, inputs: Arrays) -> dict[str, Array]:
    """All samples through `serving_default`, one after another."""
    runner = open_tflite(path)
    details = runner.get_output_details()
    rows: dict[str, list[Array]] = {name: [] for name in details}
    for at in range(len(next(iter(inputs.values())))):
        for name, value in runner(**one(runner, inputs, at)).items():
            scale, zero = details[name]["quantization"]
            rows[name].append((value.astype(np.float32) - zero) * scale if scale else value)
    return {name: np.concatenate(values) for name, values in rows.items()}


def open_tflite(path: Path) -> Any:
    """The only signature of a file, or `serving_default`."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    names = list(interpreter.get_signature_list())
    return interpreter.get_signature_runner("serving_default" if "serving_default" in names else names[0])


def one(runner: Any, inputs: Arrays, at: int) -> dict[str, Array]:
    """One sample in the types of a file, whose names may be others in the same order."""
    details, arrays = runner.get_input_details(), {}
    for place, (name, detail) in enumerate(details.items()):
        array = inputs[name] if name in inputs else list(inputs.values())[place]
        arrays[name] = np.ascontiguousarray(array[at : at + 1].astype(detail["dtype"]))
    return arrays


def latencies(paths: Mapping[str, Path], inputs: Arrays, rounds: int = 40, seconds: float = 4.0) -> dict[str, float]:
    """Medians in seconds of one call of each in turn."""
    calls: dict[str, Callable[[], Any]] = {}
    for name, path in paths.items():
        runner = open_tflite(path)
        sample = one(runner, inputs, 0)
        calls[name] = lambda runner=runner, sample=sample: runner(**sample)
        calls[name]()
    times: dict[str, list[float]] = {name: [] for name in calls}
    begun = time.perf_counter()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
        if time.perf_counter() - begun > seconds:
            break
    return {name: float(np.median(each)) for name, each in times.items()}


def sqnr_db(expected: Array, actual: Array) -> float:
    """10 log10 of the energies."""
    right, other = expected.astype(np.float64), actual.astype(np.float64)
    noise = float(((right - other) ** 2).sum())
    return np.inf if noise == 0 else float(10 * np.log10(max(float((right**2).sum()), 1e-300) / noise))


def least_r2(expected: Array, actual: Array) -> float:
    """The least R² of the columns of the last axis in which at least a tenth of the samples vary; 1 without any.

    Those that vary by less than a ten-thousandth of their size count only if no other does.
    """
    right = expected.reshape(-1, expected.shape[-1]).astype(np.float64)
    other = actual.reshape(right.shape).astype(np.float64)
    spread = np.abs(right - right.mean(axis=0))
    active = (spread > 0.5 * right.std(axis=0)).mean(axis=0) > 0.1
    active &= (right.std(axis=0) > 0) & (len(right) >= 20)
    clearly = active & (right.std(axis=0) > 1e-4 * np.abs(right).max(axis=0))
    varies = clearly if clearly.any() else active
    if not varies.any():
        return 1.0
    noise = ((right - other) ** 2).mean(axis=0)[varies]
    return float((1 - noise / right.var(axis=0)[varies]).min())


def matched(expected: Arrays, actual: Arrays) -> list[tuple[Array, Array]]:
    """Outputs of both by name, else by their shapes, else in order."""
    if set(expected) == set(actual):
        return [(expected[name], actual[name]) for name in expected]
    left, pairs = dict(actual), []
    for wanted in expected.values():
        name = next((each for each in left if left[each].shape == wanted.shape), next(iter(left)))
        pairs.append((wanted, left.pop(name)))
    return pairs


def tflite_converter(saved_model: Path, target: Path, way: str, samples: list[dict[str, Array]]) -> float:
    """Write TFLiteConverter's file, and give the seconds that it took."""
    import tensorflow as tf

    start = time.perf_counter()
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    if way != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if way == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if way in ("int8", "int16x8"):
        converter.representative_dataset = lambda: iter([("serving_default", each) for each in samples])
    if way == "int16x8":
        kinds = tf.lite.OpsSet
        converter.target_spec.supported_ops = [
            kinds.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            kinds.TFLITE_BUILTINS,
        ]
    target.write_bytes(converter.convert())
    return time.perf_counter() - start


def litert_quantizer(float32: Path, target: Path, way: str, samples: list[dict[str, Array]]) -> float:
    """Write litert-quantizer's file by its own recipe of that kind, and give the seconds that it took."""
    from litert_quantizer import recipe
    from litert_quantizer.quantizer import Quantizer

    start = time.perf_counter()
    chosen = {
        "dynamic": recipe.dynamic_wi8_afp32,
        "int8": recipe.static_wi8_ai8,
        "int16x8": recipe.static_wi8_ai16,
        "int4": recipe.dynamic_wi4_afp32,
    }[way]()
    quantizer = Quantizer(str(float32), chosen)
    statistics = None
    if quantizer.need_calibration:
        statistics = quantizer.calibrate({"serving_default": samples})
    target.unlink(missing_ok=True)
    target.write_bytes(quantizer.quantize(statistics).quantized_model)
    return time.perf_counter() - start


class Peers:
    """The other tools, in a process of their own: TensorFlow's calibrator crashes on some recurrent models."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def make(
        self, tool: str, source: Path, target: Path, way: str, samples: list[dict[str, Array]], inputs: dict[str, Array]
    ) -> tuple[float, dict[str, Array]]:
        """The seconds that a tool took for a file, and the file's outputs; what a tool raises is raised."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        try:
            return self._pool.submit(_make, tool, source, target, way, samples, inputs).result()
        except BrokenProcessPool as error:
            self._pool = None
            raise ChildProcessError(f"{tool} crashes") from error


def _make(
    tool: str, source: Path, target: Path, way: str, samples: list[dict[str, Array]], inputs: dict[str, Array]
) -> tuple[float, dict[str, Array]]:
    seconds = {"TFLiteConverter": tflite_converter, "litert-quantizer": litert_quantizer}[tool](
        source, target, way, samples
    )
    return seconds, run_tflite(target, inputs)
