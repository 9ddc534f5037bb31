"""The parts of a Predict call: the model, the request and the reply."""

from __future__ import annotations

from typing import Any, NamedTuple

from attnexport.core.signature import Arrays


class ServedModel(NamedTuple):
    """The model, version and signature that a request is for, or a reply is from.

    `version` and `label` exclude each other; if both are None, the server takes its newest version. An empty signature
    is `serving_default`.
    """

    name: str
    version: int | None = None
    label: str | None = None
    signature: str = ""

    def to_message(self) -> Any:
        """As tensorflow.serving.ModelSpec."""
        from attnexport.serving.messages import ModelSpec

        spec = ModelSpec(name=self.name, signature_name=self.signature)
        if self.version is not None:
            spec.version.value = self.version
        if self.label is not None:
            spec.version_label = self.label
        return spec

    @classmethod
    def from_message(cls, spec: Any) -> ServedModel:
        """From a tensorflow.serving.ModelSpec; version 0 is a version, and a missing one is None."""
        choice = spec.WhichOneof("version_choice")
        version = int(spec.version.value) if choice == "version" else None
        label = str(spec.version_label) if choice == "version_label" else None
        return cls(spec.name, version, label, spec.signature_name)


class PredictCall(NamedTuple):
    """A PredictRequest: the model, the inputs by name, and the outputs to return (all if empty)."""

    model: ServedModel
    inputs: Arrays
    outputs: tuple[str, ...] = ()


class PredictAnswer(NamedTuple):
    """A PredictResponse: the model that answered, and its outputs by name."""

    model: ServedModel
    outputs: Arrays
