"""The options that say which model a command works on, and where its exports are."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from attnexport.core.errors import ArgumentError
from attnexport.core.signature import TensorSpec, parse_shape
from attnexport.workflows.choices import DEFAULT_PRESET, POOLINGS, PRESETS, PresetConfig, check_source

from .command import Choice
from .terminal import Terminal

# By a part of a preset's name, what only such presets use.
_USED_BY = {"multihead": ("num_heads", "d_model"), "classifier": ("units", "classes", "pooling")}
_PRESET_STEPS = 10
PRESET_OPTIONS = ("preset", "features", "d_k", "num_heads", "d_model", "units", "classes", "pooling", "seed")
"""The parameters of presets, a group of their own at the end of the help: a model of one's own needs none of them."""


class NumberOr(click.ParamType[Any]):
    """A whole number, or another word that the option takes."""

    def __init__(self, name: str, word: str | None = None) -> None:
        self.name = name
        self._word = word

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, int) or (self._word is not None and value == self._word):
            return value
        try:
            return int(value)
        except ValueError:
            if self._word is None:  # a path
                return value
            return self.fail(f"{value!r} is neither a whole number nor {self._word!r}", param, ctx)


def _read_shapes(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    shapes = {}
    for text in texts:
        name, equals, sizes = text.partition("=")
        if not equals or not name:
            raise ArgumentError(f"--shape {text!r} is not INPUT=SIZES, such as image=1,32,48,3")
        shapes[name] = parse_shape(sizes)
    return shapes


def _read_inputs(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> list[TensorSpec]:
    return [TensorSpec.parse(text) for text in texts]


_OPTIONS = (
    click.argument("model", required=False),
    click.option(
        "--steps",
        type=NumberOr("N|dynamic", "dynamic"),
        multiple=True,
        metavar="N|dynamic",
        help="Sequence length; a preset's may be dynamic. [the model's; presets: 10]",
    ),
    click.option(
        "--shape",
        "shapes",
        multiple=True,
        callback=_read_shapes,
        metavar="INPUT=SIZES",
        help="Sizes of an input, such as image=1,32,48,3, with ? for a free one; repeatable.",
    ),
    click.option(
        "--input",
        "inputs",
        multiple=True,
        callback=_read_inputs,
        metavar="NAME:DTYPE[SHAPE]",
        help="An input of a model that does not know its own, such as 'tokens:int32[?,128]'; repeatable.",
    ),
    click.option(
        "--new-signature",
        is_flag=True,
        help="Allow other inputs or outputs than the last version has; servers switch to the new one.",
    ),
    click.option(
        "--import", "imports", multiple=True, metavar="MODULE", help="Module that registers your layers; repeatable."
    ),
    click.option("-o", "--output", metavar="DIR", help="Directory of all exports. [export]"),
    click.option("--name", metavar="NAME", help="Name of the export. [the preset's, file's or model's]"),
)
_PRESET_OPTIONS = (
    click.option(
        "--preset",
        type=Choice("preset", PRESETS),
        default=DEFAULT_PRESET,
        show_default=True,
        help="Model to build if no MODEL is given.",
    ),
    click.option("--features", metavar="N", type=int, default=64, show_default=True, help="Features per step."),
    click.option("--d-k", metavar="N", type=int, help="The attention's d_k. [64; several heads: d_model / num_heads]"),
    click.option(
        "--num-heads", metavar="N", type=int, default=8, show_default=True, help="Heads (multi-head presets)."
    ),
    click.option("--d-model", metavar="N", type=int, default=64, show_default=True, help="Width (multi-head presets)."),
    click.option("--units", metavar="N", type=int, default=128, show_default=True, help="Hidden units (classifiers)."),
    click.option("--classes", metavar="N", type=int, default=10, show_default=True, help="Classes (classifiers)."),
    click.option(
        "--pooling", type=Choice("pooling", POOLINGS), help="Pool the steps into one prediction (classifiers). [none]"
    ),
    click.option("--seed", metavar="N", type=int, default=0, show_default=True, help="Seed of the weights."),
)


def model_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add MODEL, the sizes of its inputs, --import, --output, --name and the presets' options to a command.

    The function takes `model`, what was given or the preset to build, and `steps`, the lengths to fix its steps to.
    """

    @functools.wraps(function)
    def invoke(
        terminal: Terminal,
        /,
        *,
        model: str | None,
        steps: tuple[Any, ...],
        preset: Any,
        features: int,
        d_k: int | None,
        num_heads: int,
        d_model: int,
        units: int,
        classes: int,
        pooling: Any,
        seed: int,
        **others: Any,
    ) -> None:
        if model is None:
            _check_used(preset)
            if len(steps) > 1 and "dynamic" in steps:
                raise ArgumentError("--steps dynamic is a length of its own; leave the others out")
            several = len(steps) > 1
            preset_steps = None if several or steps == ("dynamic",) else next(iter(steps), _PRESET_STEPS)
            sizes = preset_steps, features, d_k, num_heads, d_model, units, classes
            config = PresetConfig(preset, *sizes, pooling, seed)
            function(terminal, model=config, steps=steps if several else (), **others)
            return
        _check_own(model, steps)
        function(terminal, model=model, steps=steps, **others)

    decorated: Callable[..., None] = invoke
    for option in reversed((*_OPTIONS, *_PRESET_OPTIONS)):
        decorated = option(decorated)
    return decorated


def _check_used(preset: str) -> None:
    """Refuse options that a preset does not use."""
    given = _given()
    for kind, keys in _USED_BY.items():
        for key in keys:
            if kind not in preset and key in given:
                raise ArgumentError(f"{given[key]} does not apply to the preset {preset!r}")


def _check_own(model: str, steps: tuple[Any, ...]) -> None:
    """Refuse options of presets, and a MODEL that does not exist."""
    for flag in _given().values():
        raise ArgumentError(f"{flag} applies only to presets, and MODEL {model} was given")
    if "dynamic" in steps:
        raise ArgumentError(
            "--steps dynamic applies only to presets; a model's own Input says whether its steps are free"
        )
    check_source(model)


def _given() -> dict[str, str]:
    """The presets' options on the command line, by parameter."""
    context = click.get_current_context()
    given = (key for key in PRESET_OPTIONS if context.get_parameter_source(key) is ParameterSource.COMMANDLINE)
    return {key: f"--{key.replace('_', '-')}" for key in given}
