"""A served model as a Runner, for parity over the wire."""

from __future__ import annotations

from collections.abc import Mapping

from attnexport.core.runner import find_signature
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays, Signature

from .sync import Client


class ClientRunner:
    """Runs the signatures of one version of a served model.

    The version is settled when the runner is made, so that all answers are of one model.

    Args:
        client: The client, which stays its owner's.
        model: The model; the client's own where None.
        version: The version; the newest where None.
        label: The version that has this label now.

    Raises:
        ServingError: where the server does not tell the signatures, or a call fails.
    """

    def __init__(
        self, client: Client, model: str | None = None, version: int | None = None, label: str | None = None
    ) -> None:
        self._client = client
        self._metadata = client.metadata(model=model, version=version, label=label)
        self._model = model or self._metadata.model

    @property
    def model(self) -> str:
        """The model's name."""
        return self._model

    @property
    def version(self) -> int | None:
        """The version that answers."""
        return self._metadata.version

    @property
    def signatures(self) -> Mapping[str, Signature]:
        return self._metadata.signatures

    def run(self, inputs: Arrays, signature: str = DEFAULT_SIGNATURE) -> Arrays:
        find_signature(self.signatures, signature).check_inputs(inputs)
        return self._client.predict(inputs, model=self._model, signature=signature, version=self.version)

    def close(self) -> None:
        """Nothing to free: the client is its owner's."""
