"""Models that this project did not write the architecture of: random weights, tiny sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers, ops

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Foreign:
    """A model with samples.

    Attributes:
        family: Where its architecture is from.
        build: Makes it.
        samples: Makes `n` samples by input name, in the model's order.
        is_trained: Whether `build` trains it.
    """

    family: str
    build: Callable[[], keras.Model]
    samples: Callable[[int, int], dict[str, Array]]
    is_trained: bool = False


def lively(model: keras.Model) -> keras.Model:
    """Give normalizations the statistics that training gives them."""
    random = np.random.default_rng(7)
    for variable in model.variables:
        name, shape = variable.path.rsplit("/", 1)[-1], variable.shape
        if name == "moving_mean":
            variable.assign(random.normal(0, 0.2, shape))
        elif name == "moving_variance":
            variable.assign(random.uniform(0.5, 2.0, shape))
        elif name == "gamma":
            variable.assign(random.uniform(0.7, 1.3, shape))
        elif name == "beta":
            variable.assign(random.normal(0, 0.1, shape))
    return model


def images(size: int, channels: int = 3, name: str = "image") -> Callable[[int, int], dict[str, Array]]:
    """Images of coarse squares and noise."""

    def make(n: int, seed: int) -> dict[str, Array]:
        random = np.random.default_rng(seed)
        coarse = random.normal(0, 1, (n, size // 8, size // 8, channels))
        smooth = coarse.repeat(8, axis=1).repeat(8, axis=2) + random.normal(0, 0.3, (n, size, size, channels))
        return {name: smooth.astype(np.float32)}

    return make


def tokens(steps: int, words: int, *, padded: bool = True) -> Callable[[int, int], dict[str, Array]]:
    """Token ids, and the mask of the padding behind them."""

    def make(n: int, seed: int) -> dict[str, Array]:
        random = np.random.default_rng(seed)
        ids = random.integers(1, words, (n, steps)).astype(np.int32)
        lengths = random.integers(steps // 2, steps + 1, (n, 1)) if padded else np.full((n, 1), steps)
        real = np.arange(steps) < lengths
        return {"padding_mask": real.astype(np.int32), "token_ids": np.where(real, ids, 0).astype(np.int32)}

    return make


def series(steps: int, features: int, name: str = "series") -> Callable[[int, int], dict[str, Array]]:
    """Random walks."""

    def make(n: int, seed: int) -> dict[str, Array]:
        random = np.random.default_rng(seed)
        return {name: np.cumsum(random.normal(0, 0.4, (n, steps, features)), axis=1).astype(np.float32)}

    return make


def application(name: str, size: int, **options: Any) -> Foreign:
    """A model of keras.applications, without its downloaded weights."""

    def build() -> keras.Model:
        inputs = keras.Input((size, size, 3), name="image")
        made = getattr(keras.applications, name)(
            weights=None, include_top=True, classes=10, classifier_activation=None, input_tensor=inputs, **options
        )
        return lively(made)

    return Foreign("keras.applications", build, images(size))


def backbone(name: str, samples: Callable[[int, int], dict[str, Array]], **sizes: Any) -> Foreign:
    """A backbone of keras-hub at a tiny size, with its sequence output."""

    def build() -> keras.Model:
        import keras_hub

        return lively(getattr(keras_hub.models, name)(**sizes))

    return Foreign("keras-hub", build, samples)


def _bert_samples(steps: int, words: int) -> Callable[[int, int], dict[str, Array]]:
    def make(n: int, seed: int) -> dict[str, Array]:
        made = tokens(steps, words)(n, seed)
        return {
            "padding_mask": made["padding_mask"],
            "segment_ids": np.zeros_like(made["token_ids"]),
            "token_ids": made["token_ids"],
        }

    return make


def _unmasked_samples(steps: int, words: int) -> Callable[[int, int], dict[str, Array]]:
    """As BERT's, of a model that takes no mask."""

    def make(n: int, seed: int) -> dict[str, Array]:
        made = _bert_samples(steps, words)(n, seed)
        return {name: made[name] for name in ("segment_ids", "token_ids")}

    return make


_WIDTHS = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 64}
_CAUSAL = {
    "vocabulary_size": 200, "num_layers": 2, "num_query_heads": 4, "num_key_value_heads": 2, "hidden_dim": 32,
    "intermediate_dim": 64,
}  # fmt: skip


def _mixer() -> keras.Model:
    """keras.io: image classification with modern MLP models."""
    x = inputs = keras.Input((32, 32, 3), name="image")
    x = layers.Reshape((16, 64))(layers.Conv2D(64, 8, 8)(x))
    for _ in range(2):
        y = layers.Permute((2, 1))(layers.LayerNormalization()(x))
        y = layers.Permute((2, 1))(layers.Dense(16)(layers.Dense(32, activation="gelu")(y)))
        x = layers.Add()([x, y])
        y = layers.Dense(64)(layers.Dense(96, activation="gelu")(layers.LayerNormalization()(x)))
        x = layers.Add()([x, y])
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)), name="mixer")


def _unet() -> keras.Model:
    """keras.io: image segmentation with a U-Net."""
    inputs = keras.Input((32, 32, 3), name="image")
    one = layers.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    two = layers.SeparableConv2D(32, 3, padding="same", activation="relu")(layers.MaxPooling2D()(one))
    two = layers.BatchNormalization()(two)
    three = layers.Conv2D(48, 3, padding="same", activation="relu")(layers.MaxPooling2D()(two))
    x = layers.Concatenate()([layers.Conv2DTranspose(32, 3, 2, padding="same")(three), two])
    x = layers.Concatenate()([layers.UpSampling2D()(layers.Conv2D(16, 3, padding="same", activation="relu")(x)), one])
    return lively(keras.Model(inputs, layers.Conv2D(3, 1, activation="softmax", name="masks")(x), name="unet"))


def text_transformer() -> keras.Model:
    """keras.io: text classification with a transformer."""
    inputs = keras.Input((24,), dtype="int32", name="token_ids")
    x = layers.Embedding(200, 32)(inputs) + layers.Embedding(24, 32)(ops.arange(24))
    y = layers.MultiHeadAttention(2, 16)(x, x)
    x = layers.LayerNormalization()(x + y)
    x = layers.LayerNormalization()(x + layers.Dense(32)(layers.Dense(64, activation="relu")(x)))
    x = layers.Dense(20, activation="relu")(layers.GlobalAveragePooling1D()(x))
    return keras.Model(inputs, layers.Dense(4, activation="softmax", name="topics")(x), name="text_transformer")


def series_transformer() -> keras.Model:
    """keras.io: time series classification with a transformer."""
    x = inputs = keras.Input((48, 2), name="series")
    for _ in range(2):
        y = layers.MultiHeadAttention(2, 16)(layers.LayerNormalization()(x), x)
        x = x + y
        y = layers.Conv1D(8, 1, activation="relu")(layers.LayerNormalization()(x))
        x = x + layers.Conv1D(2, 1)(y)
    x = layers.GlobalAveragePooling1D(data_format="channels_first")(x)
    x = layers.Dense(32, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(x), name="series_transformer")


def _seq2seq() -> keras.Model:
    """keras.io: sequence to sequence, with additive attention over the encoder's states."""
    source, target = (keras.Input((12,), dtype="int32", name=name) for name in ("padding_mask", "token_ids"))
    states = layers.Bidirectional(layers.GRU(16, return_sequences=True))(layers.Embedding(60, 16)(source))
    queries = layers.GRU(32, return_sequences=True)(layers.Embedding(60, 16)(target))
    context = layers.AdditiveAttention()([queries, states])
    return keras.Model([source, target], layers.Dense(60)(layers.Concatenate()([queries, context])), name="seq2seq")


def tab_transformer() -> keras.Model:
    """keras.io: structured data with a TabTransformer."""
    kinds, numbers = keras.Input((5,), dtype="int32", name="kinds"), keras.Input((6,), name="numbers")
    x = layers.Embedding(20, 16)(kinds)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 8)(x, x))
    x = layers.Concatenate()([layers.Flatten()(x), layers.LayerNormalization()(numbers)])
    x = layers.Dense(32, activation="selu")(layers.BatchNormalization()(x))
    return lively(keras.Model([kinds, numbers], layers.Dense(1, name="chance")(x), name="tab_transformer"))


def tab_samples(n: int, seed: int) -> dict[str, Array]:
    """Rows of five categories and six numbers."""
    random = np.random.default_rng(seed)
    return {"kinds": random.integers(0, 20, (n, 5)).astype(np.int32), "numbers": random.normal(size=(n, 6)).astype("f")}


def _graph() -> keras.Model:
    """A graph network by einsum, with an adjacency matrix as an input."""
    edges, nodes = keras.Input((12, 12), name="edges"), keras.Input((12, 8), name="nodes")
    x = nodes
    for _ in range(2):
        x = layers.Dense(16, activation="relu")(ops.einsum("bij,bjf->bif", edges, x))
    return keras.Model([edges, nodes], layers.Dense(2)(ops.mean(x, axis=1)), name="graph")


def _graph_samples(n: int, seed: int) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    edges = (random.random((n, 12, 12)) < 0.3) + np.eye(12)
    normal = edges / edges.sum(axis=-1, keepdims=True)
    return {"edges": normal.astype(np.float32), "nodes": random.normal(size=(n, 12, 8)).astype(np.float32)}


def _wavenet() -> keras.Model:
    """Dilated causal convolutions with gates, as in WaveNet."""
    x = inputs = keras.Input((64, 4), name="series")
    x = layers.Conv1D(24, 1)(x)
    for rate in (1, 2, 4, 8):
        a = layers.Conv1D(24, 2, dilation_rate=rate, padding="causal", activation="tanh")(x)
        b = layers.Conv1D(24, 2, dilation_rate=rate, padding="causal", activation="sigmoid")(x)
        x = x + layers.Conv1D(24, 1)(a * b)
    return keras.Model(inputs, layers.Conv1D(4, 1, name="next")(x), name="wavenet")


MODELS: dict[str, Foreign] = {
    "BERT": backbone("BertBackbone", _bert_samples(16, 200), vocabulary_size=200, max_sequence_length=16, **_WIDTHS),
    "DistilBERT": backbone(
        "DistilBertBackbone", tokens(16, 200), vocabulary_size=200, max_sequence_length=16, **_WIDTHS
    ),
    "RoBERTa": backbone("RobertaBackbone", tokens(16, 200), vocabulary_size=200, max_sequence_length=16, **_WIDTHS),
    "GPT-2": backbone("GPT2Backbone", tokens(16, 200), vocabulary_size=200, max_sequence_length=16, **_WIDTHS),
    "Gemma": backbone("GemmaBackbone", tokens(16, 200), head_dim=8, **_CAUSAL),
    "Llama": backbone("LlamaBackbone", tokens(16, 200), **_CAUSAL),
    "Mistral": backbone("MistralBackbone", tokens(16, 200), sliding_window=8, **_CAUSAL),
    "FNet": backbone(
        "FNetBackbone", _unmasked_samples(16, 200), vocabulary_size=200, num_layers=2, hidden_dim=32,
        intermediate_dim=64, max_sequence_length=16,
    ),
    "ViT": backbone(
        "ViTBackbone", images(32, name="images"), image_shape=(32, 32, 3), patch_size=8, num_layers=2, num_heads=2,
        hidden_dim=32, mlp_dim=64,
    ),
    "U-Net": Foreign("keras.io", _unet, images(32)),
    "MLP mixer": Foreign("keras.io", _mixer, images(32)),
    "seq2seq": Foreign("keras.io", _seq2seq, tokens(12, 60, padded=False)),
    "graph": Foreign("keras.io", _graph, _graph_samples),
    "WaveNet": Foreign("keras.io", _wavenet, series(64, 4)),
    "MobileNet": application("MobileNet", 32, alpha=0.25),
    "MobileNetV2": application("MobileNetV2", 32, alpha=0.35),
    "MobileNetV3Small": application("MobileNetV3Small", 32, minimalistic=False),
    "EfficientNetV2B0": application("EfficientNetV2B0", 32),
    "DenseNet121": application("DenseNet121", 32),
    "NASNetMobile": application("NASNetMobile", 32),
    "ResNet50V2": application("ResNet50V2", 32),
}  # fmt: skip
