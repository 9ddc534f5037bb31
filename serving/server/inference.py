"""Running a version that somebody holds: checks of names and dtypes, then the model, alone or in a batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from attnexport.core.errors import no_such, one_of
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays, Signature, duplicates

from . import examples
from .cancellation import Alive, always
from .metrics import Metrics
from .status import Code, StatusError, invalid
from .versions import ServedVersion

_APIS = {"classify": "Classify", "regress": "Regress"}


@dataclass(frozen=True)
class Inference:
    """How requests run.

    Attributes:
        metrics: Where calls are measured.
        check_method_names: Whether Classify and Regress want the method that the artifact names.
    """

    metrics: Metrics
    check_method_names: bool = False

    def predict(
        self, version: ServedVersion, name: str, inputs: Arrays, wanted: Sequence[str], alive: Alive = always
    ) -> Arrays:
        """Run any signature.

        Args:
            version: What is run; the caller holds it.
            name: The signature, `serving_default` where empty.
            inputs: Arrays by input name.
            wanted: The outputs that are returned, all where empty.
            alive: Whether somebody still waits for the answer; asked by those who wait for a batch.

        Raises:
            StatusError: for an unknown signature or output.
            SamplesError: for inputs that differ from the signature's in name, dtype or shape.
        """
        signature = self.signature(version, name)
        if wanted:
            _check_outputs(signature, wanted)
        return self.run(version, signature, inputs, wanted, alive, "Predict")

    def signature(self, version: ServedVersion, name: str) -> Signature:
        """The signature that a Predict runs, `serving_default` where the name is empty.

        Raises:
            StatusError: FAILED_PRECONDITION where there is none of that name.
        """
        name = name or DEFAULT_SIGNATURE
        found = version.model.signatures.get(name)
        if found is None:
            raise StatusError(Code.FAILED_PRECONDITION, f"{_place(version)}: {_no_signature(name, version)}")
        return found

    def examples(
        self, version: ServedVersion, name: str, method: str, message: Any, result: Any, alive: Alive = always
    ) -> None:
        """Classify or regress the examples of a tensorflow.serving.Input, into a result message.

        Raises:
            StatusError: for an unknown signature, one of another kind, or no examples.
        """
        signature = self.signature_for(version, name, method)
        serialized = examples.serialized_examples(message)
        wanted = examples.wanted_outputs(signature, method)
        outputs = self.run(version, signature, {examples.INPUTS: serialized}, wanted, alive, _APIS[method])
        fill = examples.fill_classifications if method == "classify" else examples.fill_regressions
        fill(result, outputs, len(serialized))

    def signature_for(self, version: ServedVersion, name: str, method: str) -> Signature:
        """The signature that is to classify or regress.

        Raises:
            StatusError: INVALID_ARGUMENT for an unknown one, or one of another kind.
        """
        name = name or DEFAULT_SIGNATURE
        if name not in version.model.signatures:
            raise invalid(f"{_place(version)}: {_no_signature(name, version)}")
        signature = version.model.signatures[name]
        examples.check_kind(signature, method, by_name=self.check_method_names)
        return signature

    def run(
        self,
        version: ServedVersion,
        signature: Signature,
        inputs: Arrays,
        wanted: Sequence[str],
        alive: Alive,
        api: str,
    ) -> Arrays:
        """Call the model, in a batch where that is on.

        Raises:
            SamplesError: for inputs that differ from the signature's in name, dtype or shape.
        """
        signature.check_inputs(inputs)
        model = version.model
        begin = time.perf_counter()
        if version.batcher is None:
            outputs = model.run(inputs, signature.name, wanted)
        else:
            outputs = version.batcher.run(
                inputs, signature, wanted, alive, lambda seconds: self.metrics.queued(version.name, seconds)
            )
        self.metrics.call(version.name, api, model.runtime, time.perf_counter() - begin)
        return outputs


def _place(version: ServedVersion) -> str:
    return f"model {version.name!r} version {version.number}"


def _no_signature(name: str, version: ServedVersion) -> str:
    return no_such("signature", name, sorted(version.model.signatures))


def _check_outputs(signature: Signature, wanted: Sequence[str]) -> None:
    names = [spec.name for spec in signature.outputs]
    for name in wanted:
        if name not in names:
            raise invalid(f"output_filter: {no_such(f'output of {signature.name!r}', name, names)}")
    repeated = duplicates(wanted)
    if repeated:
        raise invalid(f"output_filter names {repeated[0]!r} twice; each of {one_of(names)} may be named once")
