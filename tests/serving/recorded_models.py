"""The models that TF Serving's recorded answers are about, made from nothing.

misc  a tf.Module with a signature for each dtype, shape and oddity (TF 2)
ex    a graph that parses tf.Example, with classify and regress (TF 1)
two   y = x / 2 + 2 as version 123, y = x / 3 + 2 as version 124 (TF 2)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

v1 = tf.compat.v1
DTYPES = (
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool", "float16", "bfloat16", "float64",
    "complex64",
)  # fmt: skip


def write_misc(path: Path) -> None:
    module, signatures = tf.Module(), dict[str, Any]()
    module.v = tf.Variable(2.0)

    def add(name: str, specs: dict[str, Any], function: Callable[..., Any]) -> None:
        described = {key: tf.TensorSpec(shape, dtype, key) for key, (shape, dtype) in specs.items()}
        signatures[name] = tf.function(function).get_concrete_function(**described)

    f, i, s, n = tf.float32, tf.int32, tf.string, None
    add("serving_default", {"x": ([n, 3], f)}, lambda x: {"y": x * module.v, "s": tf.reduce_sum(x, 1)})
    add("string", {"t": ([n], s)}, lambda t: {"up": tf.strings.upper(t), "len": tf.strings.length(t)})
    add("bytes", {"img_bytes": ([n], s)},
        lambda img_bytes: {"out_bytes": tf.identity(img_bytes), "n": tf.strings.length(img_bytes)})  # fmt: skip
    for dtype in DTYPES:
        add(f"e_{dtype}", {"x": ([n], getattr(tf, dtype))}, lambda x: {"y": tf.identity(x)})
    add("scalar", {"a": ([], f), "b": ([], i)}, lambda a, b: {"p": a * tf.cast(b, f)})
    add("scalar_and_batch", {"x": ([n], f), "k": ([], f)}, lambda x, k: {"y": x * k})
    add("two", {"a": ([n, 2], f), "b": ([n], tf.int64)},
        lambda a, b: {"c": tf.reduce_sum(a, 1) + tf.cast(b, f), "d": b + 1})  # fmt: skip
    add("multi", {"x": ([n, 2, 2, 1], f)}, lambda x: {"y": tf.identity(x), "m": tf.reduce_mean(x, [1, 2, 3])})
    add("unk", {"x": (n, f)}, lambda x: {"y": x + 1.0})
    add("unk_int", {"x": (n, i)}, lambda x: {"y": x + 1})
    add("unk_str", {"x": (n, s)}, lambda x: {"y": tf.identity(x)})
    add("fixed", {"x": ([2, 3], f)}, lambda x: {"y": x + 1.0})
    add("empty", {"x": ([n], f)}, lambda x: {"none": x[:0], "e2": tf.zeros([tf.shape(x)[0], 0])})
    add("total", {"x": ([n, 3], f)}, lambda x: {"t": tf.reduce_sum(x)})
    add("nan", {"x": ([n], f)}, lambda x: {"y": tf.math.log(x)})
    add("diffbatch", {"x": ([n], f)}, lambda x: {"a": x, "b": tf.concat([x, x], 0)})
    add("fail", {"x": ([n], f)}, lambda x: {"y": tf.debugging.check_numerics(x, "bad numerics here")})
    add("gather", {"i": ([n], i)}, lambda i: {"y": tf.gather(tf.constant([1.0, 2.0, 3.0]), i)})
    add("one_in", {"only": ([n], tf.int64)}, lambda only: {"result": only * 2})
    tf.saved_model.save(module, str(path), signatures=signatures)


def write_examples(path: Path) -> None:
    with v1.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        serialized = v1.placeholder(tf.string, [None], name="ex")
        fields = {
            "x": v1.io.FixedLenFeature([], tf.float32),
            "y": v1.io.FixedLenFeature([], tf.float32, default_value=1.0),
        }
        features = v1.io.parse_example(serialized, fields)
        x = features["x"]
        out = x * v1.get_variable("w", initializer=0.5) + features["y"]
        scores = tf.stack([out, 1 - out], 1)
        classes = tf.tile(tf.constant([["a", "b"]]), [tf.shape(x)[0], 1])
        session.run(v1.global_variables_initializer())
        info, build = v1.saved_model.utils.build_tensor_info, v1.saved_model.signature_def_utils.build_signature_def

        def define(method: str, inputs: dict[str, Any], **outputs: Any) -> Any:
            described = {key: info(value) for key, value in outputs.items()}
            return build({key: info(value) for key, value in inputs.items()}, described, f"tensorflow/serving/{method}")

        takes = {"inputs": serialized}
        signatures = {
            "serving_default": define("classify", takes, classes=classes, scores=scores),
            "scores_only": define("classify", takes, scores=scores),
            "classes_only": define("classify", takes, classes=classes),
            "regress": define("regress", takes, outputs=tf.reshape(out, [-1, 1])),
            "regress1d": define("regress", takes, outputs=out),
            "regress2": define("regress", takes, outputs=scores),
            "scores1d": define("classify", takes, scores=out),
            "classes_int": define("classify", takes, classes=tf.cast(scores, tf.int64)),
            "predict": define("predict", takes, outputs=out, scores=scores),
            "predict_x": define("predict", {"x": x}, outputs=out),
            "bad_classify": define("classify", takes, outputs=out),
            "bad_regress": define("regress", {"foo": serialized}, outputs=out),
            "missing_tensor": define("predict", {"x": x}, outputs=out),
        }
        signatures["missing_tensor"].outputs["outputs"].name = "nosuch:0"
        builder = v1.saved_model.builder.SavedModelBuilder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()


def write_two(path: Path) -> None:
    for version, divisor in ((123, 2.0), (124, 3.0)):
        module = tf.Module()
        module.d = tf.Variable(divisor)
        function = tf.function(lambda x, module=module: {"y": x / module.d + 2.0})
        concrete = function.get_concrete_function(x=tf.TensorSpec([None, 1], tf.float32, "x"))
        tf.saved_model.save(module, str(path / str(version)), signatures={"serving_default": concrete})


def write_all(folder: Path) -> None:
    """The three models, each in its base path."""
    write_misc(folder / "misc" / "1")
    write_examples(folder / "ex" / "7")
    write_two(folder / "two")
