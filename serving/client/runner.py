"""A served model as a Runner, for parity over the wire."""

from __future__ import annotations

from collections.abc import Mapping

from attnexport.core.runner import find_signature
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays, Signature

from .sync import Client


class ClientRunner:
    """Runs the signatures of one version of a served model.

    The version is chosen when the runner is made, so that all replies come from the same one.

    Args:
        client: The client, which the caller closes.
        model: The model; the client's own if None.
        version: The version; the newest if None.
        label: The version that has this label when the runner is made.

    Raises:
        ServingError: if the server does not return the signatures, or a call fails.

    Example:
        >>> import numpy as np
        >>> from attnexport.core import Signature, TensorSpec
        >>> from attnexport.serving import Client, ClientRunner, MockTransport
        >>> double = Signature("double", (TensorSpec("x", "int64", (None,)),), (TensorSpec("y", "int64", (None,)),))
        >>> transport = MockTransport(lambda request: {"y": 2 * request.inputs["x"]}, signatures=[double])
        >>> with Client("127.0.0.1:8500", model="m", transport=transport) as client:
        ...     ClientRunner(client).run({"x": np.array([1, 2])}, "double")["y"].tolist()
        [2, 4]
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
        """The version that runs."""
        return self._metadata.version

    @property
    def signatures(self) -> Mapping[str, Signature]:
        return self._metadata.signatures

    def run(self, inputs: Arrays, signature: str = DEFAULT_SIGNATURE) -> Arrays:
        find_signature(self.signatures, signature).check_inputs(inputs)
        return self._client.predict(inputs, model=self._model, signature=signature, version=self.version)

    def close(self) -> None:
        """Does nothing: the client belongs to the caller."""
