"""Storing .tflite files beside their original."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from attnexport.core.os_errors import writing
from attnexport.store import Artifact, ExportDirectory, VersionEntry
from attnexport.store.files import hash_of, make_directories, write_atomically
from attnexport.tflite import Calibration, Conversion, recipe_text
from attnexport.tflite.recipes.recipe import FITTED
from attnexport.tflite.search import SearchResult

from .choices import AUTO
from .conversion_search import search_document

KIND = "tflite"
RECIPES = "recipes"


def path_of(directory: ExportDirectory, entry: VersionEntry, conversion: Conversion) -> Path:
    """Where a conversion is kept."""
    return directory.root / _path(directory, entry, conversion)


def store(
    directory: ExportDirectory,
    entry: VersionEntry,
    conversions: Sequence[Conversion],
    calibration: Calibration,
    *,
    force: bool,
) -> list[str]:
    """Add conversions to a version; gives the state of each: "new", "replaced", "repaired" or "up to date".

    Raises:
        StorageError: if a file with other content exists and `force` is off, or the file system refuses; nothing was
            changed then.
    """
    artifacts, states = [], []
    with directory.stage() as stage:
        for conversion in conversions:
            artifact = _artifact(_path(directory, entry, conversion), conversion, calibration)
            state = _state(directory.root / artifact.path, entry.artifact_at(artifact.path), artifact)
            states.append(state)
            if state == "up to date":
                continue
            artifacts.append(artifact)
            staged = stage.add(Path(artifact.path).name, artifact.path)
            with writing(directory.root):
                staged.write_bytes(conversion.content)
        if artifacts:
            stage.commit_to(entry.version, artifacts, replace=force)
    return states


def store_search(directory: ExportDirectory, entry: VersionEntry, search: SearchResult) -> Path:
    """Write the recipe that a search chose, and all of its candidates beside it; return the recipe's path.

    Raises:
        StorageError: if a file cannot be written.
    """
    path = directory.root / RECIPES / str(entry.version) / f"{search.recipe.name}.json"
    with writing(path):
        make_directories(path.parent)
        write_atomically(path.with_suffix(".search.json"), json.dumps(search_document(search, path), indent=2) + "\n")
        write_atomically(path, recipe_text(search.recipe))
    return path


def _state(path: Path, old: Artifact | None, new: Artifact) -> str:
    if old is None:
        return "new"
    if old.content_hash != new.content_hash:
        return "replaced"
    # What was exported may have been damaged or taken away since.
    return "up to date" if path.exists() and hash_of(path) == new.content_hash else "repaired"


def _path(directory: ExportDirectory, entry: VersionEntry, conversion: Conversion) -> str:
    return f"{KIND}/{entry.version}/{directory.name}.{conversion.recipe.name}.tflite"


def _artifact(path: str, conversion: Conversion, calibration: Calibration) -> Artifact:
    recipe = conversion.recipe
    calibrated: dict[str, Any] | None = None
    # Also of a file that was searched for, or held to a limit of its own: made-up samples say nothing about its errors.
    has_own_limit = recipe.name == AUTO or recipe.calibrated_on is not None or recipe.min_sqnr_db is not None
    if recipe.needs_samples or conversion.weight_algorithm == FITTED or (calibration.given and has_own_limit):
        calibrated = {
            "content_hash": calibration.content_hash,
            "samples": len(calibration),
            "given": calibration.given,
            **({} if conversion.calibrator is None else {"calibrator": conversion.calibrator}),
        }
    content_hash = f"sha256:{hashlib.sha256(conversion.content).hexdigest()}"
    return Artifact(
        KIND,
        path,
        content_hash,
        len(conversion.content),
        recipe.precision,
        tuple(conversion.signatures.values()),
        conversion.verdict.to_json(),
        content_hash,
        {**asdict(recipe), "weight_algorithm": conversion.weight_algorithm},
        calibrated,
    )
