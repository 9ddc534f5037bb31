"""What the command line's tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, digits: Any) -> Path:
    """The digits model as SavedModel, float32 and int8 .tflite: not to be changed."""
    from attnexport.cli.tflite_versions import convert_version
    from attnexport.core import ExportDirectory
    from attnexport.exporter import export_saved_model
    from attnexport.tflite import RECIPES

    output = tmp_path_factory.mktemp("validated")
    found = export_saved_model(
        digits.models["digits-multihead"], output, output_names=["logits"], warmup=digits.calibration
    )
    recipes = [RECIPES[name] for name in ("float32", "int8")]
    convert_version(ExportDirectory(found.directory), found.entry, recipes, calibration=str(digits.calibration))
    return Path(found.directory)
