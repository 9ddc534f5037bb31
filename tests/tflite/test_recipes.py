"""Recipes: named data, read from JSON as well, and refused where they contradict themselves."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from attnexport.core import ArgumentError, ContentError
from attnexport.parity import BUDGETS
from attnexport.tflite import RECIPES, LayerRule, Recipe, load_recipe, recipe_text


def test_the_table_is_what_the_documentation_says() -> None:
    told = {name: (each.weights, each.activations, each.precision) for name, each in RECIPES.items()}
    assert told == {
        "float32": ("float32", "float32", "float32"),
        "float16": ("float16", "float32", "float16"),
        "dynamic": ("int8", "dynamic", "dynamic"),
        "int8": ("int8", "int8", "int8"),
        "int16x8": ("int8", "int16", "int16x8"),
        "int4": ("int4", "dynamic", "int4"),
    }
    assert {each.precision for each in RECIPES.values()} <= BUDGETS.keys()
    assert [name for name, each in RECIPES.items() if each.needs_calibration] == ["int8", "int16x8"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_json(name: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(asdict(RECIPES[name])))
    assert load_recipe(path) == RECIPES[name]


def test_layers_survive_json_and_lower_the_budget(tmp_path: Path) -> None:
    mixed = Recipe(
        "mine",
        "int8",
        "dynamic",
        layers=(LayerRule("^table$", "int8", "int8"), LayerRule("head", "int4", "dynamic", "octav")),
        min_sqnr_db=12.0,
        calibrated_on="sha256:0",
    )
    assert (mixed.precision, mixed.needs_calibration, mixed.integer_activations) == ("int4", True, {"int8"})
    path = tmp_path / "recipe.json"
    path.write_text(recipe_text(mixed))
    assert load_recipe(path) == mixed
    assert json.loads(recipe_text(RECIPES["float16"])) == {"name": "float16", "weights": "float16"}


def test_a_recipe_without_a_name_is_called_after_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"weights": "int8", "activations": "int8", "keep_float": ["SOFTMAX", "head/.*"]}')
    assert load_recipe(path) == Recipe("mine", "int8", "int8", ("SOFTMAX", "head/.*"))


def test_what_is_asked_for_on_top_shows_in_the_name() -> None:
    int8 = RECIPES["int8"]
    integer = int8.altered(integer_only=True)
    assert (integer.name, integer.keep_float, integer.io_type) == ("int8-integer-only", (), "int8")
    assert int8.altered(io="uint8").name == "int8-io-uint8"
    assert int8.altered(keep_float=["head"]).keep_float == (*int8.keep_float, "head")
    assert int8.altered() == int8
    assert int8.io_type == "float32"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": "a/b"}, "recipe name 'a/b' is not usable"),
        ({"weights": "int5"}, "no weights 'int5'; did you mean 'int8'"),
        ({"activations": "int9"}, "no activations 'int9'"),
        ({"weights": "float16"}, "no activations for float16 weights 'int8'"),
        ({"io": "int16"}, "no io for int8 activations 'int16'"),
        ({"calibrator": "median"}, "no calibrator 'median'"),
        ({"weight_algorithms": ()}, "weight_algorithms is empty"),
        ({"weight_algorithms": ("hqq",)}, "no weight algorithm 'hqq'"),
        ({"integer_only": True, "keep_float": ("SOFTMAX",)}, "integer_only is for int8 and int16"),
        (
            {"weights": "float32", "activations": "float32", "keep_float": ("SOFTMAX",)},
            "keep_float is for what is quantized",
        ),
        ({"integer_only": True, "layers": (LayerRule("x", "int4"),)}, "integer_only is for int8 and int16"),
        ({"keep_float": ("(",)}, "keep_float '(' is not a regular expression"),
        ({"min_sqnr_db": float("nan")}, "min_sqnr_db must be a number of dB"),
        ({"min_sqnr_db": True}, "min_sqnr_db must be a number of dB"),
        ({"min_sqnr_db": "30"}, "min_sqnr_db must be a number of dB"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        replace(Recipe("mine", "int8", "int8"), **changes)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is not valid JSON"),
        ("[1]", 'must be an object such as {"weights"'),
        ("{}", "must be an object"),
        ('{"weights": "int8", "activation": "int8"}', "no key 'activation'; did you mean 'activations'"),
        ('{"weights": "int8", "keep_float": "SOFTMAX"}', "at keep_float: a list is expected; received a string"),
        ('{"weights": "int8", "layers": {"tensors": "x"}}', "at layers: a list is expected; received an object"),
        ('{"weights": "int8", "layers": [{"tensors": "x"}]}', "at layers[0]: the field 'weights' is missing"),
        ('{"weights": "int8", "layers": [{"tensor": "x"}]}', "no key 'tensor'; did you mean 'tensors'"),
        ('{"weights": "int5"}', "there is no weights 'int5'; did you mean 'int8'"),
        ('{"weights": ["int8"]}', "at weights: a string is expected; received a list"),
        ('{"weights": "int8", "layers": [3]}', "at layers[0]: an object is expected"),
        ('{"weights": "int8", "layers": [{"tensors": "(", "weights": "int8"}]}', "at layers[0]: layers '(': tensors"),
        ('{"weights": "int8", "keep_float": [3]}', "at keep_float[0]: a string is expected"),
        ('{"weights": "int8", "min_sqnr_db": NaN}', "NaN is not a value in JSON"),
        ('{"weights": "int8", "min_sqnr_db": true}', "at min_sqnr_db: a number or null is expected"),
        ('{"weights": "int8", "integer_only": "yes"}', "at integer_only: true or false is expected; received a string"),
    ],
)
def test_json_that_is_no_recipe_is_refused(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(text)
    with pytest.raises(ContentError) as caught:
        load_recipe(path)
    assert told in str(caught.value)
    with pytest.raises(ArgumentError, match="does not exist"):
        load_recipe(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (("(", "int8"), "tensors '(' is not a regular expression"),
        (("x", "int5"), "no weights 'int5'"),
        (("x", "int4", "int8"), "no activations for int4 weights 'int8'"),
        (("x", "int8", "dynamic", "hqq"), "no weight algorithm 'hqq'"),
    ],
)
def test_layers_that_cannot_be_are_refused(values: tuple[str, ...], told: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        LayerRule(*values)
    assert told in str(caught.value)
