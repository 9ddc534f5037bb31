"""The models that attnexport builds by itself: seeded, so that the same call gives the same weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from attnexport.core.errors import ArgumentError, check_size, no_such
from attnexport.core.limits import check_memory

Preset = Literal["classifier", "multihead-classifier", "attention", "multihead"]
Pooling = Literal["average", "max", "flatten"]

DEFAULT_PRESET: Preset = "classifier"


@dataclass(frozen=True)
class PresetConfig:
    """The sizes of a preset; sizes that it does not use are ignored.

    Attributes:
        preset: `classifier` is Input, AttentionConcatLayer, Dense relu, Dense, one row of logits per step;
            `multihead-classifier` the same with MultiHeadAttentionConcat; `attention` and `multihead` are the bare
            layers.
        steps: Sequence length; free if None.
        features: Features of a step.
        d_k: The attention's d_k; if None, 64 for one head and `d_model / num_heads` for several.
        num_heads: Heads of the multi-head presets.
        d_model: Width of the multi-head presets.
        units: Units of the hidden dense layer.
        classes: Number of classes.
        pooling: How steps are pooled into one prediction a sequence; one prediction a step if None.
        seed: Seed of the weights.

    Raises:
        ArgumentError: for a size or combination that cannot be built.
    """

    preset: Preset = DEFAULT_PRESET
    steps: int | None = 10
    features: int = 64
    d_k: int | None = None
    num_heads: int = 8
    d_model: int = 64
    units: int = 128
    classes: int = 10
    pooling: Pooling | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.preset not in get_args(Preset):
            raise ArgumentError(no_such("preset", self.preset, get_args(Preset)))
        if self.pooling is not None and self.pooling not in get_args(Pooling):
            raise ArgumentError(no_such("pooling", self.pooling, get_args(Pooling)))
        for name in ("features", "num_heads", "d_model", "units", "classes", "steps", "d_k"):
            if getattr(self, name) is not None or name not in ("steps", "d_k"):
                check_size(name, getattr(self, name))
        check_size("seed", self.seed, least=0)
        if self.pooling == "flatten" and self.steps is None:
            raise ArgumentError("pooling 'flatten' needs a fixed number of steps; use 'average' or 'max'")
        if self.pooling and not self.has_head:
            raise ArgumentError(f"preset {self.preset!r} has nothing to pool; pooling is for the classifiers")

    @property
    def output_name(self) -> str:
        """What the output is called when exported."""
        return "logits" if self.has_head else "features"

    @property
    def has_head(self) -> bool:
        """Whether the preset classifies, rather than being a bare layer."""
        return self.preset.endswith("classifier")


def build_model(
    preset: Preset = DEFAULT_PRESET,
    *,
    steps: int | None = 10,
    features: int = 64,
    d_k: int | None = None,
    num_heads: int = 8,
    d_model: int = 64,
    units: int = 128,
    classes: int = 10,
    pooling: Pooling | None = None,
    seed: int = 0,
) -> Any:
    """Build a preset, whose weights are the same at every call.

    Args:
        preset: Its name; see PresetConfig. Sizes that the preset does not use are ignored.
        steps: Sequence length; free if None.
        features: Features of a step.
        d_k: The attention's d_k; if None, 64 for one head and `d_model / num_heads` for several.
        num_heads: Heads of the multi-head presets.
        d_model: Width of the multi-head presets.
        units: Units of the hidden dense layer of the classifiers.
        classes: Number of classes of the classifiers.
        pooling: How the classifiers pool the steps into one prediction a sequence; one prediction a step if None.
        seed: Seed of the weights.

    Returns:
        A built `keras.Sequential` with input `[batch, steps, features]`.

    Raises:
        ArgumentError: for a size or combination that cannot be built.
        ContentError: for sizes whose weights would take more than 16 GiB.

    Example:
        >>> import attnexport as ax
        >>> ax.build_model("multihead-classifier", steps=4, features=8, classes=3).output_shape
        (None, 4, 3)
    """
    return build_preset(PresetConfig(preset, steps, features, d_k, num_heads, d_model, units, classes, pooling, seed))


def build_preset(config: PresetConfig) -> Any:
    """The model of a configuration; see `build_model`.

    Raises:
        ContentError: for sizes whose weights would take more than 16 GiB.
    """
    import keras

    check_memory(4 * _weights(config), f"preset {config.preset!r} of these sizes cannot be built: its weights")
    layers: list[Any] = [
        keras.Input((config.steps, config.features), name="sequence"),
        _attention(config),
    ]
    if config.has_head:
        layers.append(keras.layers.Dense(config.units, activation="relu", name="hidden"))
        if config.pooling:
            layers.append(_POOLINGS[config.pooling](keras))
        layers.append(keras.layers.Dense(config.classes, name="logits"))
    model = keras.Sequential(layers, name=config.preset.replace("-", "_"))
    _seed_weights(model, config.seed)
    return model


def _weights(config: PresetConfig) -> int:
    """How many numbers the kernels of a preset hold."""
    if config.preset.startswith("multihead"):
        width, inner = config.d_model, config.num_heads * (config.d_k or -(-config.d_model // config.num_heads))
        kernels = 3 * config.features * inner + inner * width
    else:
        width, kernels = config.features, 0
    if config.has_head:
        pooled = config.units * ((config.steps or 1) if config.pooling == "flatten" else 1)
        kernels += (config.features + width) * config.units + pooled * config.classes
    return kernels


def _attention(config: PresetConfig) -> Any:
    from attnexport.exporter.layers import AttentionConcatLayer, MultiHeadAttentionConcat

    if config.preset.startswith("multihead"):
        return MultiHeadAttentionConcat(config.num_heads, config.d_model, config.d_k, name="attention")
    return AttentionConcatLayer(64 if config.d_k is None else config.d_k, name="attention")


_POOLINGS: dict[str, Callable[[Any], Any]] = {
    "average": lambda keras: keras.layers.GlobalAveragePooling1D(name="pooling"),
    "max": lambda keras: keras.layers.GlobalMaxPooling1D(name="pooling"),
    "flatten": lambda keras: keras.layers.Flatten(name="pooling"),
}


def _seed_weights(model: Any, seed: int) -> None:
    """Draw every kernel from (seed, its place), whatever random state the process is in; biases stay zero."""
    import keras

    for index, variable in enumerate(model.trainable_variables):
        if len(variable.shape) > 1:
            initializer = keras.initializers.GlorotUniform(seed=1000 * seed + index)
            variable.assign(initializer(variable.shape, variable.dtype))
