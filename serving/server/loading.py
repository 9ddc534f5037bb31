"""What the server asks of models and their loaders: it knows neither TensorFlow nor LiteRT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from attnexport.core.signature import Arrays, Signature


class LoadedModel(Protocol):
    """One version of a model, in memory. Several threads call `run` at once."""

    @property
    def runtime(self) -> str:
        """What runs it, as the metrics name it: `TF1` (a session) or `TFLite`."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """What can be run, by name."""

    @property
    def definitions(self) -> bytes:
        """A serialized tensorflow.serving.SignatureDefMap: all signatures as the artifact has them."""

    def run(self, inputs: Arrays, signature: str, outputs: Sequence[str]) -> Arrays:
        """One call. That the inputs fit the signature was checked.

        Raises:
            ContentError: where the call fails. Its `code`, where it has one, is the number in google.rpc.Code that the
                request ends with; without, that is INVALID_ARGUMENT.
        """

    def warmup_records(self) -> Iterator[bytes]:
        """Serialized tensorflow.serving.PredictionLog, to be replayed before the version is available.

        Raises:
            ContentError: where they are damaged.
        """

    def close(self) -> None:
        """Free the memory; no call runs any more."""


class ModelLoader(Protocol):
    """Finds and loads what a version directory holds."""

    def find(self, directory: Path, artifact: str | None) -> Path | None:
        """What is to be loaded, or None where it is not there, or not whole yet.

        Args:
            directory: A version's directory.
            artifact: The name of the file that is served from it; the SavedModel itself where None.
        """

    def load(self, path: Path) -> LoadedModel:
        """Load what `find` gave.

        Raises:
            AttnexportError: where it cannot be loaded.
        """


def signature_definitions(signatures: Mapping[str, Signature]) -> bytes:
    """A serialized SignatureDefMap for an artifact that has none of its own: tensors are named as they are keyed."""
    from attnexport.serving.codec.dtypes import number_of
    from attnexport.serving.messages import SignatureDefMap

    found = SignatureDefMap()
    for name, signature in signatures.items():
        definition = found.signature_def[name]
        definition.method_name = f"tensorflow/serving/{signature.method}"
        for infos, specs in ((definition.inputs, signature.inputs), (definition.outputs, signature.outputs)):
            for spec in specs:
                info: Any = infos[spec.name]
                info.name, info.dtype = f"{name}_{spec.name}:0", number_of(spec.dtype)
                if spec.shape is None:
                    info.tensor_shape.unknown_rank = True
                for size in spec.shape or ():
                    info.tensor_shape.dim.add(size=-1 if size is None else size)
    serialized: bytes = found.SerializeToString(deterministic=True)
    return serialized
