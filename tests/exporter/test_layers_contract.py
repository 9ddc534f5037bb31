"""One battery that every attention-concat layer passes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from attnexport.core.errors import ArgumentError
from attnexport.exporter.layers import AttentionConcatLayer, MultiHeadAttentionConcat, record_attention_weights

LAYERS: dict[str, tuple[Callable[..., Any], int]] = {  # with the features of the context, for 12 features
    "single": (AttentionConcatLayer, 12),
    "single-d_k": (lambda **options: AttentionConcatLayer(5, **options), 12),
    "projected": (lambda **options: AttentionConcatLayer(12, use_projection=True, **options), 12),
    "projected-narrow": (lambda **options: AttentionConcatLayer(5, use_projection=True, **options), 5),
    "multi-head-narrow": (lambda **options: MultiHeadAttentionConcat(2, 8, 4, **options), 8),
    "multi-head": (lambda **options: MultiHeadAttentionConcat(3, 12, 4, **options), 12),
    "multi-head-no-bias": (lambda **options: MultiHeadAttentionConcat(3, 12, use_bias=False, **options), 12),
}
# Tracing the steps of training takes seconds: these models are trained as graphs, the others eagerly.
_TRAINED_AS_GRAPHS = (("projected", "subclassed"), ("multi-head", "functional"))

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("name", LAYERS)]


def make(name: str, /, **options: Any) -> Any:
    return LAYERS[name][0](**options)


def data(batch: int = 4, steps: int = 6, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal((batch, steps, 12)).astype(np.float32)


@pytest.mark.parametrize("axis", [-1, 2, 1, -2])
def test_shapes_are_those_promised(name: str, axis: int) -> None:
    if axis in (1, -2) and LAYERS[name][1] != 12:
        with pytest.raises(ArgumentError, match="their features differ"):
            make(name, axis=axis)(data())
        return
    layer = make(name, axis=axis)
    output = layer(data())
    expected = (4, 6, 12 + LAYERS[name][1]) if axis in (-1, 2) else (4, 12, 12)
    assert tuple(output.shape) == expected
    assert layer.compute_output_shape((4, 6, 12)) == expected
    assert make(name, axis=axis)(keras.Input((None, 12))).shape == (None, None, expected[2])


def test_the_input_itself_comes_first(name: str) -> None:
    x = data()
    np.testing.assert_array_equal(make(name)(x)[..., :12], x)
    if LAYERS[name][1] == 12:
        np.testing.assert_array_equal(make(name, axis=1)(x)[:, :6], x)


@pytest.mark.parametrize("shape", [(None, 6, 12), (None, None, 12), (4, None, 12), (4, 6, 12)])
def test_batch_and_steps_may_be_free(name: str, shape: tuple[int | None, ...]) -> None:
    layer = make(name)
    expected = layer(data())
    function = tf.function(layer, input_signature=[tf.TensorSpec(shape)], autograph=False)
    np.testing.assert_allclose(function(data()), expected, rtol=0, atol=1e-6)
    if shape[1] is None:
        assert function(data(steps=3)).shape[1] == 3


def test_config_makes_the_same_layer(name: str) -> None:
    layer = make(name, axis=1, use_causal_mask=True, dropout=0.25, seed=3, kernel_initializer="he_normal")
    config = layer.get_config()
    again = type(layer).from_config(config)
    assert again.get_config() == config
    assert (again.axis, again.use_causal_mask, again.dropout, again.seed) == (1, True, 0.25, 3)


def test_sequential_functional_and_subclassed_models_train(name: str) -> None:
    class Subclassed(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.dense = make(name), keras.layers.Dense(2)

        def call(self, x: Any) -> Any:
            return self.dense(self.attention(x))

    inputs = keras.Input((6, 12))
    functional = keras.Model(inputs, keras.layers.Dense(2)(make(name)(inputs)))
    sequential = keras.Sequential([keras.Input((6, 12)), make(name), keras.layers.Dense(2)])
    x, y = data(16), data(16, seed=1)[..., :2]
    models = {"sequential": sequential, "functional": functional, "subclassed": Subclassed()}
    for kind, model in models.items():
        if (name, kind) in _TRAINED_AS_GRAPHS:
            model.compile("adam", "mse")
            first = model.evaluate(x, y, verbose=0)
            model.fit(x, y, epochs=3, verbose=0)
            last = model.evaluate(x, y, verbose=0)
        else:
            model.compile("adam", "mse", run_eagerly=True)
            first, *_ = [model.train_on_batch(x, y) for _ in range(3)]
            last = model.test_on_batch(x, y)
        assert last < first
        model.summary(print_fn=lambda line: None)


def test_padding_is_never_attended_to(name: str) -> None:
    """What stands in masked steps changes nothing outside them, through Keras's own masking."""
    layer = make(name)
    model = keras.Sequential([keras.Input((6, 12)), keras.layers.Masking(), layer])
    x = data()
    x[:, 4:] = 0
    np.testing.assert_allclose(model(x)[:, :4], layer(x[:, :4]), rtol=0, atol=1e-6)


def test_embedding_masks_reach_the_layers_behind(name: str) -> None:
    tokens = np.array([[3, 1, 2, 0, 0], [4, 0, 0, 0, 0]])
    layer = make(name)
    model = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            keras.layers.Embedding(7, 12, mask_zero=True),
            layer,
            keras.layers.GlobalAveragePooling1D(),
        ]
    )
    embedded = model.layers[0](tokens)
    expected = [np.mean(layer(embedded[row : row + 1, :count]), axis=1)[0] for row, count in ((0, 3), (1, 1))]
    np.testing.assert_allclose(model(tokens), expected, rtol=0, atol=1e-6)


def test_mask_is_passed_on_for_each_axis(name: str) -> None:
    mask = tf.constant([[True, True, False]])
    np.testing.assert_array_equal(make(name).compute_mask(None, mask), mask)
    np.testing.assert_array_equal(make(name, axis=1).compute_mask(None, mask), [[True, True, False] * 2])
    assert make(name).compute_mask(None, None) is None


def test_causal_steps_do_not_look_ahead(name: str) -> None:
    layer, x = make(name, use_causal_mask=True), data()
    changed = x.copy()
    changed[:, 4:] += 1
    np.testing.assert_allclose(layer(changed)[:, :4], layer(x)[:, :4], rtol=0, atol=1e-6)
    assert np.abs(layer(changed)[:, 4:, 12:] - layer(x)[:, 4:, 12:]).max() > 1e-3


def test_weights_on_request_sum_to_one(name: str) -> None:
    layer = make(name)
    output, weights = layer(data(), return_attention_scores=True)
    np.testing.assert_allclose(np.sum(weights, axis=-1), 1, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(layer(data()), output)
    symbolic_output, symbolic_weights = layer(keras.Input((6, 12)), return_attention_scores=True)
    assert symbolic_output.shape[1:] == output.shape[1:]
    assert symbolic_weights.shape[1:] == weights.shape[1:]


def test_weights_are_recorded_on_request(name: str) -> None:
    layer = make(name, name="mine")
    with record_attention_weights() as recorded:
        layer(layer(data())[..., :12])
    assert [name for name, _ in recorded] == ["mine", "mine"]
    with record_attention_weights() as nothing:
        pass
    assert nothing == []


def test_dropout_acts_in_training_alone(name: str) -> None:
    layer, x = make(name, dropout=0.5, seed=1), data()
    np.testing.assert_array_equal(layer(x, training=False), layer(x))
    assert np.abs(layer(x, training=True)[..., 12:] - layer(x)[..., 12:]).max() > 1e-3
    assert not make(name).non_trainable_variables


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_stays_near_float32(name: str, policy: str) -> None:
    keras.utils.set_random_seed(0)
    exact, mixed = make(name), make(name, dtype=policy)
    exact.build((4, 6, 12))
    mixed.build((4, 6, 12))
    mixed.set_weights(exact.get_weights())
    output = mixed(data())
    assert output.dtype == policy.removeprefix("mixed_")
    wanted = np.asarray(exact(data()))
    # Five units in the last of bfloat16's 8 bits, at the scale of the output.
    np.testing.assert_allclose(tf.cast(output, "float32"), wanted, rtol=0, atol=0.02 * np.abs(wanted).max())


def test_scopes_name_the_tensors(name: str) -> None:
    layer = make(name)
    function = tf.function(layer, input_signature=[tf.TensorSpec((1, 6, 12))], autograph=False)
    operations = [operation.name for operation in function.get_concrete_function().graph.get_operations()]
    for scope in ("scores", "weights", "context", "concat"):
        assert any(f"/{scope}/" in operation for operation in operations), scope


def test_weights_differ_even_from_a_seeded_initializer(name: str) -> None:
    layer = make(name, kernel_initializer=keras.initializers.GlorotUniform(seed=3))
    layer.build((None, 6, 12))
    kernels = [each.numpy() for each in layer.weights if "kernel" in each.name]
    assert all(np.any(a != b) for i, a in enumerate(kernels) for b in kernels[:i] if a.shape == b.shape)


@pytest.mark.parametrize("axis", [0, -3, 3, None])
def test_other_axes_are_refused(name: str, axis: Any) -> None:
    with pytest.raises(ArgumentError, match=r"-1 \(features\) or 1 \(steps\)"):
        make(name, axis=axis)


@pytest.mark.parametrize("shape", [(4, 12), (4, 6, 2, 12), (4, 6, None)])
def test_other_ranks_are_refused(name: str, shape: Any) -> None:
    with pytest.raises(ArgumentError, match=r"\[batch, steps, features\]"):
        make(name).build(shape)


def test_saved_layer_computes_the_same_in_a_fresh_process(
    name: str, tmp_path: Path, fork_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    model = keras.Sequential([keras.Input((6, 12)), make(name, dropout=0.1)])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(data()), model(data()))
    if name not in ("projected", "multi-head"):  # a process a kind of layer is enough
        return
    np.save(tmp_path / "x.npy", data())
    code = (
        "import numpy as np\n"
        "from attnexport.exporter import load_model\n"
        "np.save('y.npy', load_model('model.keras')(np.load('x.npy')))\n"
    )
    assert fork_python(code).returncode == 0
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model(data()), rtol=0, atol=1e-6)


@pytest.mark.parametrize("argument", ["mask", "query_mask", "value_mask", "key_mask"])
def test_every_mask_of_self_attention_hides_keys(name: str, argument: str) -> None:
    mask = np.array([[True] * 4 + [False] * 2] * 4)
    _, weights = make(name)(data(), return_attention_scores=True, **{argument: mask})
    assert np.abs(weights[..., 4:]).max() == 0
    np.testing.assert_allclose(np.sum(weights, axis=-1), 1, rtol=0, atol=1e-5)


@pytest.mark.parametrize("argument", ["value_mask", "key_mask"])
def test_masks_of_value_and_key_hide_keys(name: str, argument: str) -> None:
    mask = np.array([[True] * 4 + [False] * 2] * 4)
    _, weights = make(name)(data(steps=3), data(), return_attention_scores=True, **{argument: mask})
    assert np.abs(weights[..., 4:]).max() == 0


def test_masks_and_keys_without_a_place_are_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match="mask is for self-attention"):
        make(name)(data(), data(), mask=np.ones((4, 6), bool))
    with pytest.raises(ArgumentError, match="a key was given without a value"):
        make(name)(data(), key=data())


def test_gradients_are_those_of_finite_differences(name: str) -> None:
    """In float64, so that the differences themselves are exact to 1e-8; for inputs and every weight."""
    rng = np.random.default_rng(3)
    layer = make(name, dtype="float64")
    x = tf.constant(rng.standard_normal((2, 4, 12)))
    upstream = tf.constant(rng.standard_normal(layer(x).shape))

    def loss(values: Any) -> Any:
        return tf.reduce_sum(layer(values) * upstream)

    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x)
    gradients = tape.gradient(value, [x, *(each.value for each in layer.trainable_variables)])
    step = 1e-5
    for variable, gradient in zip([None, *layer.trainable_variables], gradients, strict=True):
        direction = rng.standard_normal(gradient.shape)
        if variable is None:
            difference = loss(x + step * direction) - loss(x - step * direction)
        else:
            kept = variable.numpy()
            variable.assign(kept + step * direction)
            above = loss(x)
            variable.assign(kept - step * direction)
            difference = above - loss(x)
            variable.assign(kept)
        expected = float(np.sum(gradient.numpy() * direction))
        assert float(difference) / (2 * step) == pytest.approx(expected, rel=1e-6, abs=1e-8)
