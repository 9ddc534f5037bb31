"""Models converted once a run, and how tests convert their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

STEPS, FEATURES = 12, 16


@pytest.fixture(autouse=True)
def children_start_at_once(forked_children: None) -> None:
    """Most tests here have a file tried in a child process."""


@pytest.fixture(scope="session")
def to_tflite(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Convert a Keras model by recipes, on samples by input name; gives the conversions by recipe name."""
    from attnexport.exporter import open_model
    from attnexport.tflite import RECIPES, ConversionOptions, Recipe, convert, prepare_calibration, read_calibration

    def run(
        model: Any,
        recipes: str | Recipe | Sequence[str | Recipe],
        samples: Any,
        *,
        signatures: Sequence[str] = ("serving_default",),
        batch: int = 1,
        rejected: list[Any] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        several = [recipes] if isinstance(recipes, str | Recipe) else recipes
        original = open_model(model, classify=False).in_float32()
        path = tmp_path_factory.mktemp("fixed") / "saved_model"
        fixed = original.write_fixed(path, signatures, batch)
        specs = fixed["serving_default"].inputs
        conversions = convert(
            path,
            [RECIPES[each] if isinstance(each, str) else each for each in several],
            prepare_calibration(read_calibration(samples, specs), specs),
            reference=original.reference,
            signatures=fixed,
            options=ConversionOptions(**options),
            rejected=rejected,
        )
        return {each.recipe.name: each for each in conversions}

    return run


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Models that tests build have the same weights every time."""
    import keras

    keras.utils.set_random_seed(7)


@pytest.fixture(scope="session")
def samples() -> np.ndarray[Any, Any]:
    """Standard normal sequences `[80, 12, 16]`."""
    return np.random.default_rng(1).standard_normal((80, STEPS, FEATURES)).astype(np.float32)


@pytest.fixture(scope="session")
def multi_head() -> Any:
    """A multi-head classifier with enough weights to be worth quantizing."""
    import keras

    from attnexport.exporter import MultiHeadAttentionConcat

    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((STEPS, FEATURES), name="sequence"),
            MultiHeadAttentionConcat(4, FEATURES, 4, name="attention_block"),
            keras.layers.Dense(32, activation="relu", name="hidden"),
            keras.layers.Dense(10, name="logits"),
        ],
        name="multi_head",
    )


@pytest.fixture(scope="session")
def conversions(to_tflite: Callable[..., Any], multi_head: Any, samples: Any) -> dict[str, Any]:
    """The multi-head classifier by every recipe of the table, both signatures over shared weights."""
    from attnexport.tflite import RECIPES

    both = ("serving_default", "attention")
    integer = RECIPES["int8"].altered(integer_only=True)
    return to_tflite(multi_head, [*RECIPES, integer], samples, signatures=both)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[bytes], Path]:
    """A file with this content."""

    def write(content: bytes) -> Path:
        path = tmp_path / "model.tflite"
        path.write_bytes(content)
        return path

    return write
