"""Convert: a model becomes .tflite files, by recipes, beside its SavedModel."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnexport.core.errors import ArgumentError, AttnexportError, ParityError, check_size, no_such
from attnexport.core.progress import Progress, silent
from attnexport.core.wording import worded_all

from .choices import AUTO, RECIPES, recipe_name
from .conversion_samples import check_calibrated, check_samples
from .conversion_search import SearchOptions, search_request
from .convert_result import ConvertResult
from .export import check_model, check_texts, export_source
from .inheritance import newest_entry, open_like
from .versions import check_place, find_version, kind_of_model

if TYPE_CHECKING:
    from attnexport.core.samples import SampleSource
    from attnexport.core.signature import Shape, TensorSpec
    from attnexport.exporter import PresetConfig
    from attnexport.tflite import Recipe

    from .conversion import ConversionRequest
    from .versions import ModelVersion

_DEFAULT = "serving_default"
_ADVICE = "More or better --calibration samples, another recipe, --keep-float or a lower --min-sqnr may help"


def convert(
    model: str | os.PathLike[str] | PresetConfig | Any,
    recipes: str | os.PathLike[str] | Recipe | Sequence[str | os.PathLike[str] | Recipe] = "float32",
    *,
    calibration: SampleSource | None = None,
    evaluation: SampleSource | None = None,
    labels_for: str | None = None,
    output: str | os.PathLike[str] | None = None,
    name: str | None = None,
    version: int | None = None,
    imports: Iterable[str] = (),
    trust: bool = False,
    steps: int | Sequence[int] | None = None,
    batch: int | None = None,
    shapes: Mapping[str, Shape] | None = None,
    inputs: Sequence[TensorSpec] = (),
    new_signature: bool = False,
    signatures: Sequence[str] = (),
    integer_only: bool = False,
    io: str | None = None,
    keep_float: Sequence[str] = (),
    calibrator: str | None = None,
    min_sqnr_db: float | None = None,
    max_size: int | None = None,
    search: SearchOptions | None = None,
    allow_flex: bool = False,
    keep_failed: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> ConvertResult:
    """Convert a model to TFLite (LiteRT).

    The files are added to the newest version of the model's export; the model is exported first if it has none. Each
    file is run in a process of its own and compared with the original before it takes its name. The model is loaded
    once.

    Args:
        model: A `keras.Model`, a PresetConfig, the path of a `.keras` file, an export or a SavedModel, or a factory's
            `package.module:function`.
        recipes: How to quantize: "float32", "float16", "dynamic", "int8", "int16x8", "int4", `Recipe`s or their JSON
            files; "auto" searches for a recipe.
        calibration: Samples to find ranges with (a path, arrays `[n, ...]` by input name, or an array); every fifth is
            held out to compare on. Synthetic ones if None.
        evaluation: Samples, with or without labels, to report accuracy on.
        labels_for: The output that labels are of; the one whose classes they fit if None.
        output: The directory of all exports; `export` if None. Not for a model that is an export itself.
        name: The export's name; the preset's, the file's or the model's if None. Not for an export either.
        version: The version to add to; the newest if None.
        imports: Modules that register custom layers.
        trust: Import the modules that an export names, even if it was made elsewhere.
        steps: Fix free steps to this. Of several, the longest is the length of `serving_default`, and each other one
            that of a signature `steps_N` over the same weights.
        batch: Samples of a call; 1 if None, or what the model has fixed.
        shapes: Shapes for inputs, by name; None in one leaves a dimension as it is.
        inputs: The inputs of a model that does not know them itself: a subclassed one of several arguments or tokens.
        new_signature: Whether a version that is exported first may have other signatures than the last one.
        signatures: Signatures beside `serving_default`.
        integer_only: Fail unless every operator is integer.
        io: Type of inputs and outputs; float32 if None.
        keep_float: What stays float32: operators, or regular expressions of tensor names.
        calibrator: How ranges are found; the best one on held-out samples if None.
        min_sqnr_db: Least SQNR against the original, in dB; the recipe's budget if None.
        max_size: Most bytes of a file.
        search: What "auto" searches for.
        allow_flex: Allow TensorFlow operators, which LiteRT alone cannot run.
        keep_failed: Keep files that fail their checks, under `failed/`.
        force: Replace files of the same name and other content.
        progress: Called with what is being done now.

    Returns:
        The files; recipes that failed are in `rejected`, if another one did not.

    Raises:
        ArgumentError: for arguments that cannot work.
        ModelError: if the model cannot be loaded or converted.
        SamplesError: if the samples do not fit the model.
        GateError: if no file is what was asked for.
        ParityError: if every recipe loses more than it may.
        StorageError: if a file with other content exists, or the file system refuses.
        KeyboardInterrupt: if a search is interrupted before it has a candidate.

    Example:
        >>> import attnexport as ax
        >>> model = ax.build_model(steps=4, features=8, units=16, classes=3)
        >>> result = ax.convert(model, "dynamic", name="small")
        >>> [(file.path.name, file.state) for file in result.files]
        [('small.dynamic.tflite', 'new')]
    """
    check_model(model)
    given = [recipes] if isinstance(recipes, str | os.PathLike) or not isinstance(recipes, Sequence) else list(recipes)
    given = [recipe_name(each) if isinstance(each, str) else each for each in given]
    signatures, imports = check_texts("signatures", signatures), check_texts("imports", imports)
    lengths = check_steps(steps)
    keep_float = check_texts("keep_float", keep_float)
    is_search = AUTO in given
    _check_search_options(is_search, search, integer_only=integer_only, io=io)
    chosen = _recipes(given)
    chosen = [
        each.altered(
            integer_only=integer_only,
            io=io,
            keep_float=keep_float,
            calibrator=calibrator,
            min_sqnr_db=None if is_search else min_sqnr_db,  # which is the search's then
        )
        for each in chosen
    ]
    _check_unique([*(each.name for each in chosen), *(AUTO for each in given if each == AUTO)])
    request = None
    if is_search:
        request = search_request(
            search or SearchOptions(),
            min_sqnr_db=min_sqnr_db,
            max_size=max_size,
            keep_float=keep_float,
            calibrator=calibrator,
            labels_for=labels_for,
        )
    check_samples(request, calibration=calibration, evaluation=evaluation)
    check_place(model, output, name)
    if calibration is None:
        check_calibrated(chosen, request, kind_of_model(model, version))
    progress("loading TensorFlow")
    from attnexport.store.trust import trusting

    from .conversion import ConversionRequest

    with trusting(trust):
        opened = find_version(
            model,
            output=output,
            name=name,
            version=version,
            imports=imports,
            inputs=inputs,
            progress=progress,
        )
    conversion_request = ConversionRequest(
        recipes=tuple(chosen),
        search=request,
        signatures=tuple(dict.fromkeys([_DEFAULT, *signatures])),
        batch=batch,
        steps=lengths,
        shapes=dict(shapes or {}),
        new_signature=new_signature,
        calibration=calibration,
        evaluation=evaluation,
        labels_for=labels_for,
        allow_flex=allow_flex,
        max_size=max_size,
        keep_failed=keep_failed,
        force=force,
    )
    return _check_files(_convert(opened, conversion_request, progress))


def _convert(opened: ModelVersion, request: ConversionRequest, progress: Progress) -> ConvertResult:
    """Open the model once, export it if it has no version, and convert it."""
    from attnexport.exporter import check_exportable, open_model

    from .conversion import check_no_strings, convert_source

    entry, names = opened.entry, request.signatures
    notes: list[str] = []
    kept: dict[str, Sequence[str]] = {}
    with ExitStack() as stack:
        if opened.source is not None:
            source, kept, notes = opened.source, dict(opened.kept), list(opened.notes)
        elif entry is None:
            if opened.origin.saved_model is None:
                check_exportable(opened.origin.model)
            progress("tracing its signatures")
            source, taken, notes = open_like(newest_entry(opened.directory), opened.origin)
            kept.update(taken)
        elif opened.origin.saved_model is None:
            check_no_strings(entry, names)
            progress("opening the original")
            source = open_model(opened.origin, signatures=names, classify=False)
        else:
            source = open_model(opened.origin)
        stack.enter_context(closing(source))
        source.check_offered(names)
        if entry is None:
            exported = export_source(
                source, opened.directory, kept=kept, new_signature=request.new_signature, progress=progress
            )
            entry = exported.entry
            notes += [*exported.notes, f"exported first as {exported.path}, for the .tflite to stand beside"]
        check_no_strings(entry, names)
        ready = source.in_float32(steps=request.steps, shapes=request.shapes, signatures=names)
        stack.enter_context(closing(ready))
        result = convert_source(opened.directory, entry, ready, request, progress)
    notes += result.notes
    if any(recipe.activations == "int16" for recipe in request.recipes):
        notes.append("int16 activations have no fast kernels on this CPU: expect several times float32's latency")
    return replace(result, notes=worded_all(notes))


def _check_files(result: ConvertResult) -> ConvertResult:
    """The result, if there is a file in it; else the failures of all recipes as one error, with the notes."""
    if result.files:
        return result
    if result.interrupted:
        raise KeyboardInterrupt
    message = "; ".join(str(each.error) for each in result.rejected)
    kinds = [type(each.error) for each in result.rejected]
    if all(issubclass(kind, ParityError) for kind in kinds):
        helps = dict.fromkeys(each.advice or _ADVICE for each in result.rejected)
        error: AttnexportError = ParityError(". ".join((message, *helps)))
    else:  # more samples would not help
        error = next(kind for kind in kinds if not issubclass(kind, ParityError))(message)
    for note in result.notes:
        error.add_note(note)
    raise error


def _recipes(given: Sequence[str | os.PathLike[str] | Recipe]) -> list[Recipe]:
    """The recipes that are named, without the one to search for."""
    from attnexport.tflite import RECIPES as KNOWN
    from attnexport.tflite import Recipe, load_recipe

    recipes = []
    for each in given:
        if isinstance(each, Recipe):
            recipes.append(each)
        elif str(each) in KNOWN:
            recipes.append(KNOWN[str(each)])
        elif str(each).endswith(".json") or Path(each).exists():
            recipes.append(load_recipe(Path(each)))
        elif each != AUTO:
            raise ArgumentError(f"{no_such('recipe', str(each), (*RECIPES, AUTO))}, or a recipe's JSON file")
    return recipes


def check_steps(steps: int | Sequence[int] | None) -> tuple[int, ...]:
    """The lengths that were asked for, each once.

    Raises:
        ArgumentError: for one that is not a positive number.
    """
    given = [] if steps is None else [steps] if isinstance(steps, int) else list(steps)
    return tuple(dict.fromkeys(check_size("steps", each) for each in given))


def _check_unique(names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise ArgumentError(f"two recipes are called {next(each for each in names if names.count(each) > 1)!r}")


def _check_search_options(
    is_search: bool, options: SearchOptions | None, *, integer_only: bool, io: str | None
) -> None:
    if not is_search and options is not None:
        given = [each.name for each in fields(options) if getattr(options, each.name) != each.default]
        raise ArgumentError(
            f"--{(given or ['trials'])[0].removesuffix('_ms').replace('_', '-')} works only with --quantize {AUTO}"
        )
    if is_search and (integer_only or io):
        raise ArgumentError(
            f"{AUTO} searches among files with float inputs; --integer-only and --io are for recipes that are named"
        )
