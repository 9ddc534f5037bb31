"""The table of docs/field-notes.md, measured again: int8 of an attention model against its relatives.

Every figure is a ratio of two sides measured in one run, one call of each in turn, batch 1, one thread. The speed of
int8 over float32 is the worst of several seeds: the zero points of K and V are 0 by luck for some weights. The aim is
that of the processor, whose features are printed first.

    python benchmarks/tflite.py [--rounds N]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

from attnexport.core import batched
from attnexport.core.latency import measure
from attnexport.exporter import MultiHeadAttentionConcat, open_model
from attnexport.parity import agreement, distance
from attnexport.tflite import (
    RECIPES,
    Conversion,
    TFLiteRunner,
    convert,
    delegation,
    prepare_calibration,
    read_calibration,
)
from attnexport.tflite.processor import INT8_PRODUCTS, processor_flags

HEADS = 8
SIZES = ((128, 256), (512, 256), (64, 512))
RECIPE_NAMES = ("float32", "float16", "dynamic", "int8", "int16x8", "int4")
SEEDS = (0, 1, 2)
# By size, for int8: speed over float32 with int8 dot products, speed over TFLiteConverter's full int8, and dB over it.
AIMS: dict[tuple[int, int], tuple[float, float, float]] = {
    (128, 256): (2.0, 4.0, 1.0),
    (512, 256): (1.5, 6.0, 3.0),
    (64, 512): (3.0, 3.0, 0.0),
}


@keras.saving.register_keras_serializable(package="benchmarks")
class NaiveMultiHeadConcat(keras.layers.Layer):
    """Multi-head attention as it is usually written: Dense projections, tf.shape, the scores divided afterwards."""

    def build(self, shape: Any) -> None:
        self.width = shape[-1]
        self.projections = [keras.layers.Dense(self.width, name=f"w_{name}") for name in "qkvo"]
        for projection in self.projections:
            projection.build(shape)

    def call(self, x: Any) -> Any:
        batch, steps = tf.shape(x)[0], tf.shape(x)[1]
        query, key, value = (
            tf.transpose(tf.reshape(project(x), (batch, steps, HEADS, self.width // HEADS)), (0, 2, 1, 3))
            for project in self.projections[:3]
        )
        scores = tf.matmul(query, key, transpose_b=True) / tf.sqrt(float(self.width // HEADS))
        context = tf.transpose(tf.matmul(tf.nn.softmax(scores), value), (0, 2, 1, 3))
        return tf.concat([x, self.projections[3](tf.reshape(context, (batch, steps, self.width)))], axis=-1)


def model(steps: int, features: int, attention: keras.layers.Layer) -> keras.Model:
    """Attention, concatenated, and two dense layers."""
    layers = [keras.Input((steps, features), name="sequence"), attention]
    return keras.Sequential([*layers, keras.layers.Dense(128, activation="relu"), keras.layers.Dense(10)])


def ours(network: keras.Model, samples: np.ndarray[Any, Any], names: Sequence[str] = RECIPE_NAMES) -> list[Conversion]:
    """The network by every recipe, as `attnexport tflite` makes it."""
    original = open_model(network, classify=False).in_float32()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "saved_model"
        fixed = original.write_fixed(path, ["serving_default"], 1)
        specs = fixed["serving_default"].inputs
        calibration = prepare_calibration(read_calibration(samples, specs), specs)
        recipes = [RECIPES[name] for name in names]
        return convert(path, recipes, calibration, reference=original.reference, signatures=fixed)


def theirs(network: keras.Model, samples: np.ndarray[Any, Any], *, int8: bool, batch: int | None) -> bytes:
    """The network by TFLiteConverter, in float32 or in its documented full int8."""
    spec = tf.TensorSpec((batch, *samples.shape[1:]), tf.float32, name="sequence")
    with tempfile.TemporaryDirectory() as directory:
        archive = keras.export.ExportArchive()
        archive.add_endpoint("serving_default", partial(network, training=False), [spec])
        archive.write_out(directory, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(directory)
        if int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        return bytes(converter.convert())


def call(runner: TFLiteRunner, sample: np.ndarray[Any, Any]) -> Callable[[], object]:
    """One call with one sample."""
    name = next(iter(runner.signatures["serving_default"].inputs)).name
    return partial(runner.run, {name: sample})


def bench(steps: int, features: int, rounds: int) -> None:
    """One row of the table."""
    keras.utils.set_random_seed(0)
    samples = np.random.default_rng(0).standard_normal((80, steps, features)).astype(np.float32)
    network = model(steps, features, MultiHeadAttentionConcat(HEADS, features, features // HEADS))
    naive = model(steps, features, NaiveMultiHeadConcat())
    conversions = {each.recipe.name: each for each in ours(network, samples[:64])}
    files = {name: each.content for name, each in conversions.items()}
    files["TFLiteConverter int8"] = theirs(network, samples[:64], int8=True, batch=1)
    files["TFLiteConverter int8, naive layer, batch free"] = theirs(naive, samples[:64], int8=True, batch=None)
    files["float32, naive layer, batch free"] = theirs(naive, samples[:1], int8=False, batch=None)
    # A file of free batch is declared as [?, …] and takes a batch of one as well.
    runners = {name: TFLiteRunner(content) for name, content in files.items()}
    found = measure({name: call(runner, samples[:1]) for name, runner in runners.items()}, rounds=rounds, seconds=60)

    held_out = samples[64:]
    references = {True: network.predict(held_out, verbose=0), False: naive.predict(held_out, verbose=0)}
    sqnr = {}
    for name, runner in runners.items():
        inputs = {next(iter(runner.signatures["serving_default"].inputs)).name: held_out}
        outputs = next(iter(batched(runner, inputs, batch_size=1).values()))
        sqnr[name] = distance(references["naive" not in name], outputs).sqnr_db
    float32 = found["float32"].p50_ms
    print(f"{steps} x {features}: multi-head ({HEADS}) + concat + Dense 128 + Dense 10")
    for name, content in files.items():
        partitions = delegation(content, "serving_default")
        print(
            f"  {name:46s} speed {float32 / found[name].p50_ms:5.2f}  size {len(content) / len(files['float32']):5.3f}"
            f"  SQNR {sqnr[name]:6.1f} dB  partitions {partitions.partitions if partitions else '?'}"
        )
    speed, over_theirs, decibels = AIMS[steps, features]
    full, naive_full = "TFLiteConverter int8", "TFLiteConverter int8, naive layer, batch free"
    speed = speed if processor_flags() & INT8_PRODUCTS else 1.0
    speeds = {seed: speed_of_int8(steps, features, seed, rounds) for seed in SEEDS}
    noise = ", ".join(
        f"seed {seed}: {own:.2f}, float32 beside itself {again:.2f}" for seed, (own, again) in speeds.items()
    )
    aimed(f"int8 over float32, speed, worst of seeds ({noise})", min(own for own, _ in speeds.values()), least=speed)
    aimed("int8 over TFLiteConverter's, speed", found[full].p50_ms / found["int8"].p50_ms, least=over_theirs)
    aimed("int8 over TFLiteConverter's of the naive layer, speed", found[naive_full].p50_ms / found["int8"].p50_ms)
    aimed("int8 over TFLiteConverter's, dB", sqnr["int8"] - sqnr[full], least=decibels)
    aimed("int8 over float32, size", len(files["int8"]) / len(files["float32"]), most=0.28)
    aimed(
        "float32 over the naive layer's, speed", found["float32, naive layer, batch free"].p50_ms / float32, least=1.0
    )
    two = {name: TFLiteRunner(files[name], threads=2) for name in ("float32", "int8")}
    side_by_side = {
        **{name: runners[name] for name in two},
        **{f"{name}, 2 threads": each for name, each in two.items()},
    }
    threads = measure({name: call(each, samples[:1]) for name, each in side_by_side.items()}, rounds=rounds, seconds=20)
    for name in two:
        aimed(f"{name} on 2 threads over 1, speed", threads[name].p50_ms / threads[f"{name}, 2 threads"].p50_ms)
    print(f"  calibrated by {conversions['int8'].calibrator}; {found['float32'].calls} calls each\n")


def speed_of_int8(steps: int, features: int, seed: int, rounds: int) -> tuple[float, float]:
    """Speed of int8 over float32 with the weights of a seed, and of float32 beside itself."""
    keras.utils.set_random_seed(seed)
    samples = np.random.default_rng(seed).standard_normal((40, steps, features)).astype(np.float32)
    network = model(steps, features, MultiHeadAttentionConcat(HEADS, features, features // HEADS))
    float32, int8 = (each.content for each in ours(network, samples, ("float32", "int8")))
    calls = {
        name: call(TFLiteRunner(content), samples[:1])
        for name, content in (("float32", float32), ("again", float32), ("int8", int8))
    }
    found = measure(calls, rounds=rounds, seconds=20)
    return found["float32"].p50_ms / found["int8"].p50_ms, found["float32"].p50_ms / found["again"].p50_ms


def aimed(what: str, figure: float, *, least: float | None = None, most: float | None = None) -> None:
    """Print a figure, and what was aimed at where something was."""
    aim = (
        ""
        if least is None and most is None
        else f" (at least {least:g})"
        if least is not None
        else f" (at most {most:g})"
    )
    missed = (least is not None and figure < least) or (most is not None and figure > most)
    print(f"    {what}: {figure:.2f}{aim}{', MISSED' if missed else ''}")


def digits() -> None:
    """The digits models, on the images held out from training and calibration."""
    from attnexport.examples.digits import train_digits

    with tempfile.TemporaryDirectory() as directory:
        trained = train_digits(Path(directory))
        train, evaluation = (dict(np.load(path)) for path in (trained.calibration, trained.evaluation))
        for name, path in trained.models.items():
            network = keras.models.load_model(path)
            expected = network.predict(evaluation["rows"], verbose=0)
            print(f"{name}: {len(expected)} held-out digits, against Keras")
            for each in ours(network, train["rows"]):
                actual = batched(TFLiteRunner(each.content), {"rows": evaluation["rows"]})
                scores = next(iter(actual.values()))
                same = agreement(expected.argmax(axis=-1), scores)
                least = {"int8": 40.0}.get(each.recipe.name)
                aimed(f"{each.recipe.name}, SQNR in dB", distance(expected, scores).sqnr_db, least=least)
                wanted = {"int8": 0.99, "float16": 1.0, "dynamic": 1.0}.get(each.recipe.name)
                aimed(f"{each.recipe.name}, agreement", same, least=wanted)
            print()


def main() -> None:
    """Run all sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    rounds = parser.parse_args().rounds
    warnings.simplefilter("ignore")
    known = ", ".join(sorted(processor_flags() & (INT8_PRODUCTS | {"avx2", "avx512f"})))
    print(f"processor: {known or 'of unknown features'}\n")
    for steps, features in SIZES:
        bench(steps, features, rounds)
    digits()


if __name__ == "__main__":
    main()
