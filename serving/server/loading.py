"""What the server asks of models and their loaders. It knows neither TensorFlow nor LiteRT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from attnexport.core.signature import Arrays, Signature
from attnexport.core.signature_def import write_signature


class LoadedModel(Protocol):
    """One version of a model, in memory. Several threads call `run` at once."""

    @property
    def runtime(self) -> str:
        """What runs it, as the metrics name it: `TF1` (a session) or `TFLite`."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """The signatures by name."""

    @property
    def defaults(self) -> Mapping[str, Arrays]:
        """The default values of inputs, by signature and input name."""

    @property
    def definitions(self) -> bytes:
        """A serialized tensorflow.serving.SignatureDefMap: all signatures as the artifact has them."""

    @property
    def strict_shapes(self) -> bool:
        """Whether inputs must have the shapes that the signatures declare; a graph decides for itself."""

    @property
    def is_steady(self) -> bool:
        """Whether calls with inputs of the same shapes take the same time, whatever these hold, in their own thread."""

    def run(self, inputs: Arrays, signature: str, outputs: Sequence[str]) -> Arrays:
        """Run one call. Names and dtypes of the inputs fit the signature, and so do shapes where these are strict.

        Raises:
            ContentError: if the call fails. Its `code`, if it has one, is the number in google.rpc.Code that the
                request ends with; otherwise that is INVALID_ARGUMENT.
        """

    def warmup_records(self) -> Iterator[bytes]:
        """Serialized tensorflow.serving.PredictionLogs, to be replayed before the version is available.

        Raises:
            ContentError: if they are damaged.
        """

    def close(self) -> None:
        """Free the memory; no call may be running."""


class ModelLoader(Protocol):
    """Finds and loads what a version directory holds."""

    def find(self, directory: Path, artifact: str | None) -> Path | None:
        """What is to be loaded, or None if the directory holds no version of this model.

        Args:
            directory: A version's directory.
            artifact: The name of the file that is served from it; None serves the SavedModel.
        """

    def load(self, path: Path) -> LoadedModel:
        """Load what `find` gave.

        Raises:
            AttnexportError: if it cannot be loaded. Its `code`, if it has one, is the number in google.rpc.Code that
                the status of the version has.
        """


def signature_definitions(signatures: Mapping[str, Signature]) -> bytes:
    """A serialized SignatureDefMap for an artifact that has none of its own."""
    from attnexport.serving.messages import SignatureDefMap

    definitions = SignatureDefMap()
    for name, signature in signatures.items():
        write_signature(signature, definitions.signature_def[name])
    serialized: bytes = definitions.SerializeToString(deterministic=True)
    return serialized
