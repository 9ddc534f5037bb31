"""`metadata`: the signatures of a served model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from attnexport.core.printable import printable
from attnexport.core.progress import Progress, silent
from attnexport.core.signature import Signature

from .connection import Connection
from .result import Block, Line, Result, Table


@dataclass(frozen=True)
class MetadataResult(Result):
    """The signatures of a served model.

    Attributes:
        model: Name the model is served under.
        version: The version that answered; None if the server does not say.
        signatures: All of its signatures.
    """

    model: str
    version: int | None
    signatures: tuple[Signature, ...]

    def to_dict(self) -> dict[str, Any]:
        signatures = [asdict(signature) for signature in self.signatures]
        return {"model": self.model, "version": self.version, "signatures": signatures}

    def blocks(self) -> Sequence[Block]:
        version = "" if self.version is None else f" version {self.version}"
        rows = [
            (printable(each.name), each.method, "\n".join(map(str, each.inputs)), "\n".join(map(str, each.outputs)))
            for each in self.signatures
        ]
        return [Line(f"{self.model}{version}\n"), Table(("signature", "method", "takes", "gives"), rows)]


def metadata(
    connection: Connection, *, version: int | None = None, label: str | None = None, progress: Progress = silent
) -> MetadataResult:
    """Get the signatures of a served model: names, dtypes and shapes of inputs and outputs.

    Args:
        connection: The server and the model.
        version: The version; the newest if None.
        label: The version with this label, instead of `version`.
        progress: Called with what is being done.

    Raises:
        ArgumentError: if both a version and a label are given.
        ServingError: if the server is unreachable, or does not have the model or version.

    Example:
        >>> from attnexport.core.errors import UnavailableError
        >>> try:
        ...     metadata(Connection("classifier", "127.0.0.1:1", timeout=0.5))
        ... except UnavailableError as error:
        ...     print(error.address)
        127.0.0.1:1
    """
    with connection.client() as client:
        progress(f"querying {connection.first_server}")
        reply = client.metadata(version=version, label=label)
    return MetadataResult(reply.model, reply.version, tuple(reply.signatures.values()))
