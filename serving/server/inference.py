"""Running a version that a request holds: checks of names and dtypes, then the model, alone or in a batch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attnexport.core.errors import no_such
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays, Signature

from . import examples
from .cancellation import Alive, always
from .checks import check_dtypes, check_inputs, check_method_name, check_outputs, check_shapes, with_axes_of_one
from .metrics import Metrics
from .status import Code, StatusError, invalid
from .versions import ServedVersion

_APIS = {"classify": "Classify", "regress": "Regress"}
_NO_DEFAULTS: Arrays = {}


@dataclass(frozen=True)
class Inference:
    """How requests run.

    Attributes:
        metrics: Where calls are measured.
        check_method_names: Whether Predict requires a known method name in the SignatureDef, Classify and Regress
            their own.
        strict_shapes: Whether inputs must have the shapes that the signature declares. TF Serving leaves that to the
            graph, which may fail, or answer; models of other runtimes than TensorFlow's always require it.
    """

    metrics: Metrics
    check_method_names: bool = False
    strict_shapes: bool = False

    def predict(
        self, version: ServedVersion, name: str, inputs: Arrays, wanted: Sequence[str], alive: Alive = always
    ) -> Arrays:
        """Run any signature.

        Args:
            version: The version, which the caller holds.
            name: The name of the signature; `serving_default` if empty.
            inputs: Arrays by input name.
            wanted: The names of the outputs to return; all if empty.
            alive: Whether the client still waits; called by those who wait for a batch.

        Raises:
            StatusError: for an unknown signature or output, and for inputs that differ from the signature's in name or
                dtype, or in a shape where shapes are checked.
        """
        signature = self.signature(version, name)
        if self.check_method_names:
            check_method_name(version.definition(signature.name).method_name)
        defaults = version.model.defaults.get(signature.name, _NO_DEFAULTS)
        inputs = check_inputs(signature, inputs, defaults, lambda: feed_names(version, signature.name))
        if wanted:
            check_outputs(signature, wanted)
        return self.run(version, signature, inputs, wanted, alive, "Predict")

    def signature(self, version: ServedVersion, name: str) -> Signature:
        """The signature that a Predict runs, `serving_default` if the name is empty.

        Raises:
            StatusError: FAILED_PRECONDITION if the model has no signature of that name.
        """
        name = name or DEFAULT_SIGNATURE
        signature = version.model.signatures.get(name)
        if signature is None:
            raise StatusError(
                Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found. {_no_signature(name, version)}'
            )
        return signature

    def examples(
        self, version: ServedVersion, name: str, method: str, message: Any, result: Any, alive: Alive = always
    ) -> int:
        """Classify or regress the examples of a tensorflow.serving.Input, into a result message.

        Returns:
            The number of examples.

        Raises:
            StatusError: for an unknown signature, one of another kind, or no examples.
        """
        signature = self.signature_for(version, name, method)
        serialized = examples.serialized_examples(message)
        wanted = examples.wanted_outputs(signature, method)
        outputs = self.run(version, signature, {examples.INPUTS: serialized}, wanted, alive, _APIS[method])
        fill = examples.fill_classifications if method == "classify" else examples.fill_regressions
        fill(result, outputs, len(serialized))
        return len(serialized)

    def signature_for(
        self, version: ServedVersion, name: str, method: str, unknown: str = "No signature was found with the name"
    ) -> Signature:
        """The signature that is to classify or regress.

        Args:
            version: The version, which the caller holds.
            name: The name of the signature; `serving_default` if empty.
            method: `classify` or `regress`.
            unknown: How the message for an unknown signature begins.

        Raises:
            StatusError: INVALID_ARGUMENT for an unknown signature, or one of another kind.
        """
        name = name or DEFAULT_SIGNATURE
        signature = version.model.signatures.get(name)
        if signature is None:
            raise invalid(f"{unknown}: {name}. {_no_signature(name, version)}")
        examples.check_kind(
            signature, method, version.definition(name).method_name if self.check_method_names else None
        )
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
        """Call the model, in a batch if batching is on; the inputs have the names of the signature's.

        Raises:
            StatusError: for inputs that differ from the signature's in dtype, or in a shape where shapes are checked.
        """
        model = version.model
        check_dtypes(signature, inputs)
        if model.strict_shapes and not self.strict_shapes:
            inputs = with_axes_of_one(signature, inputs)
        if self.strict_shapes or model.strict_shapes:
            check_shapes(signature, inputs)
        begin = time.perf_counter()
        if version.batcher is None:
            outputs = model.run(inputs, signature.name, wanted)
        else:
            outputs = version.batcher.run(
                inputs, signature, wanted, alive, lambda seconds: self.metrics.queued(version.name, seconds)
            )
        self.metrics.call(version.name, api, model.runtime, time.perf_counter() - begin)
        return outputs


def feed_names(version: ServedVersion, signature: str) -> Mapping[str, str]:
    """The names of the graph's tensors by the input names of a signature."""
    return {name: info.name for name, info in version.definition(signature).inputs.items()}


def _no_signature(name: str, version: ServedVersion) -> str:
    names = sorted(name for name in version.model.signatures if not name.startswith("__"))  # not the initializer
    unknown = no_such("signature", name, names)
    return f"Model {version.name!r} version {version.number}: {unknown}"
