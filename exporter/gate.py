"""The gate of a SavedModel: what it must pass before it takes its final name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np

from attnexport.core.errors import AttnexportError, GateError, ModelError, ParityError, first_line
from attnexport.core.runner import Runner
from attnexport.core.signature import Signature
from attnexport.parity import Case, Verdict, compare

from .cases import gate_cases
from .model_source import ModelSource
from .runners import SavedModelRunner
from .warmup import read_warmup

# They call back into the Python process that made them, and TF Serving has none.
_PYTHON_OPERATORS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}


def gate_saved_model(
    path: Path,
    reference: Runner,
    cases: Iterable[Case],
    *,
    expected: Mapping[str, Signature],
    precision: str,
    reference_name: str = "Keras",
) -> Verdict:
    """Load a SavedModel as TF Serving does, and compare it with its original.

    Every requested signature must exist, load in a fresh graph and session, return finite numbers within the
    precision's budget of the reference, and replay its warm-up records.

    Raises:
        GateError: if it is not what was requested.
        ParityError: if only the numbers differ.
    """
    try:
        return _gate(path, reference, cases, expected, precision, reference_name)
    except AttnexportError as error:
        kind = ParityError if isinstance(error, ParityError) else GateError
        # Without the temporary path, which means nothing to the user.
        message = first_line(error, limit=1000).replace(f"{path}: ", "").replace(f"{path} ", "it ")
        raise kind(f"the SavedModel was not kept: {message}") from error


def computes_as(path: Path, source: ModelSource) -> bool:
    """Whether a SavedModel computes what an open model does, on made-up samples; true if none suit the model."""
    try:
        cases, _ = gate_cases(source, None)
    except ModelError:
        return True
    try:
        with closing(SavedModelRunner(path)) as runner:
            kept = [case for case in cases if case.signature in runner.signatures]
            return bool(compare(source.reference, runner, kept, precision=source.precision))
    except AttnexportError:
        return False


def _gate(
    path: Path,
    reference: Runner,
    cases: Iterable[Case],
    expected: Mapping[str, Signature],
    precision: str,
    reference_name: str,
) -> Verdict:
    with closing(SavedModelRunner(path, own=True)) as runner:
        _check_signatures(runner, expected)
        if python := sorted(runner.operators.keys() & _PYTHON_OPERATORS):
            raise GateError(
                f"it calls Python ({', '.join(python)}), which TF Serving does not have; "
                "write tf.py_function and tf.numpy_function as TensorFlow or Keras operations"
            )
        verdict = compare(
            reference,
            runner,
            cases,
            precision=precision,
            reference_name=reference_name,
            candidate_name="the SavedModel",
            require_finite=True,
        )
        verdict.require()
        _replay(runner, path)
    return verdict


def _check_signatures(runner: SavedModelRunner, expected: Mapping[str, Signature]) -> None:
    for name, signature in expected.items():
        actual = runner.signatures.get(name)
        # A session may know a shape that tracing left open, such as that of a mutable table's values.
        if actual is None or not (actual.answers(signature) and signature.answers(actual)):
            raise GateError(f"its signature {name!r} is {actual or 'missing'}; {signature} is expected")


def _replay(runner: SavedModelRunner, path: Path) -> None:
    for number, record in enumerate(read_warmup(path), start=1):
        if record is None:
            continue
        signature, inputs = record
        for name, output in runner.run(inputs, signature).items():
            if output.dtype.kind == "f" and not np.isfinite(output).all():
                raise GateError(f"warm-up record {number} gives NaN or infinity in {name!r}")
