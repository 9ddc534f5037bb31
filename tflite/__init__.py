"""TFLite (LiteRT): recipes, calibration, conversion through a gate, inspection, and a Runner."""

from typing import TYPE_CHECKING

from attnexport.core.lazy import lazy_names

if TYPE_CHECKING:
    from .calibration import Calibration, prepare_calibration, read_calibration, without_shared
    from .compiled_model import CompiledModelRunner, open_tflite
    from .conversion import Conversion, Rejected, convert, convert_prepared
    from .fixed_shapes import fix_shapes
    from .gate import gate_tflite
    from .inspection import TFLiteInspection, delegation, inspect_tflite
    from .options import ConversionOptions
    from .preparation import Prepared, prepare_conversion
    from .probe import Probe
    from .recipes import RECIPES, LayerRule, Recipe, load_recipe, recipe_text
    from .runner import TFLiteRunner

_HOMES = {
    "Calibration": "calibration",
    "CompiledModelRunner": "compiled_model",
    "Conversion": "conversion",
    "ConversionOptions": "options",
    "LayerRule": "recipes",
    "Prepared": "preparation",
    "Probe": "probe",
    "RECIPES": "recipes",
    "Recipe": "recipes",
    "Rejected": "conversion",
    "TFLiteInspection": "inspection",
    "TFLiteRunner": "runner",
    "convert": "conversion",
    "convert_prepared": "conversion",
    "delegation": "inspection",
    "fix_shapes": "fixed_shapes",
    "gate_tflite": "gate",
    "inspect_tflite": "inspection",
    "load_recipe": "recipes",
    "open_tflite": "compiled_model",
    "prepare_calibration": "calibration",
    "prepare_conversion": "preparation",
    "read_calibration": "calibration",
    "recipe_text": "recipes",
    "without_shared": "calibration",
}

__all__ = [
    "RECIPES",
    "Calibration",
    "CompiledModelRunner",
    "Conversion",
    "ConversionOptions",
    "LayerRule",
    "Prepared",
    "Probe",
    "Recipe",
    "Rejected",
    "TFLiteInspection",
    "TFLiteRunner",
    "convert",
    "convert_prepared",
    "delegation",
    "fix_shapes",
    "gate_tflite",
    "inspect_tflite",
    "load_recipe",
    "open_tflite",
    "prepare_calibration",
    "prepare_conversion",
    "read_calibration",
    "recipe_text",
    "without_shared",
]

if not TYPE_CHECKING:  # type checkers then report names that do not exist
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
