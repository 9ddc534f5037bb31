"""The options that say which model a command works on, and where its exports are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import click
from click.core import ParameterSource

from attnexport.core.errors import ArgumentError
from attnexport.exporter.models.presets import DEFAULT_PRESET, Pooling, Preset, PresetConfig

from .command import Choice

# By a part of a preset's name, what only such presets use.
_USED_BY = {"multihead": ("num_heads", "d_model"), "classifier": ("units", "classes", "pooling")}
_PRESET_ONLY = ("preset", "features", "d_k", "num_heads", "d_model", "units", "classes", "pooling", "seed")


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


_OPTIONS = (
    click.argument("model", required=False),
    click.option(
        "--preset",
        type=Choice("preset", get_args(Preset)),
        default=DEFAULT_PRESET,
        show_default=True,
        help="What to build where no MODEL is given.",
    ),
    click.option("--steps", type=NumberOr("N|dynamic", "dynamic"), help="Sequence length. [preset: 10]"),
    click.option("--features", type=int, default=64, show_default=True, help="Features of a step (presets)."),
    click.option("--d-k", type=int, help="The attention's d_k (presets). [64; d_model / num_heads]"),
    click.option("--num-heads", type=int, default=8, show_default=True, help="Heads (multi-head presets)."),
    click.option("--d-model", type=int, default=64, show_default=True, help="Width (multi-head presets)."),
    click.option("--units", type=int, default=128, show_default=True, help="Hidden units (classifiers)."),
    click.option("--classes", type=int, default=10, show_default=True, help="Classes (classifiers)."),
    click.option(
        "--pooling",
        type=Choice("pooling", get_args(Pooling)),
        help="Join the steps, giving one prediction a sequence (classifiers).",
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="For a preset's weights."),
    click.option("--import", "imports", multiple=True, metavar="MODULE", help="A module that registers your layers."),
    click.option("-o", "--output", default="export", show_default=True, help="The directory of all exports."),
    click.option("--name", help="The export's name. [the preset's, file's or model's]"),
)


def model_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add MODEL, the presets and their sizes, --import, --output and --name to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def model_source(options: dict[str, Any]) -> tuple[str | PresetConfig, int | None]:
    """What to export, and what to fix its steps to."""
    context = click.get_current_context()
    model, steps = options["model"], options["steps"]
    given = [key for key in _PRESET_ONLY if context.get_parameter_source(key) is ParameterSource.COMMANDLINE]
    flags = {key: f"--{key.replace('_', '-')}" for key in given}
    if model is None:
        preset = options["preset"]
        for kind, keys in _USED_BY.items():
            for key in keys:
                if kind not in preset and key in flags:
                    raise ArgumentError(f"{flags[key]} has no use in the preset {preset!r}")
        sizes = {key: options[key] for key in _PRESET_ONLY}
        sizes["steps"] = {None: 10, "dynamic": None}.get(steps, steps)
        return PresetConfig(**sizes), None
    if given:
        raise ArgumentError(f"{flags[given[0]]} is for presets, and MODEL {model} was given")
    if steps == "dynamic":
        raise ArgumentError("--steps dynamic is for presets; a model's own Input says whether its steps are free")
    from attnexport.exporter.models.sources import check_source

    check_source(model)
    return model, steps
