"""`status`: the versions of a served model, and their states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from attnexport.core.printable import printable
from attnexport.core.progress import Progress, silent

from .connection import Connection
from .result import Block, Result, Table

if TYPE_CHECKING:
    from attnexport.serving import VersionStatus


@dataclass(frozen=True)
class StatusResult(Result):
    """The versions of a served model, newest first.

    Attributes:
        model: Name the model is served under.
        versions: State of each version, with its error if it failed to load.
    """

    model: str
    versions: tuple[VersionStatus, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"model": self.model, "versions": [asdict(each) for each in self.versions]}

    def blocks(self) -> Sequence[Block]:
        rows = [(str(each.version), printable(each.state), printable(each.error)) for each in self.versions]
        return [Table(("version", "state", "error"), rows)]


def status(
    connection: Connection, *, version: int | None = None, wait: bool = False, progress: Progress = silent
) -> StatusResult:
    """Get the states of a served model's versions.

    Args:
        connection: The server and the model.
        version: Only this version; all if None.
        wait: First wait until a version is AVAILABLE, for the connection's time-out at most.
        progress: Called with what is being done.

    Raises:
        ServingError: if the server is unreachable, or does not have the model or version.

    Example:
        >>> from attnexport.core.errors import UnavailableError
        >>> try:
        ...     status(Connection("classifier", "127.0.0.1:1", timeout=0.5))
        ... except UnavailableError as error:
        ...     print(error.address)
        127.0.0.1:1
    """
    with connection.client() as client:
        progress(f"querying {connection.first_server}")
        if wait:
            client.wait_until_ready(version=version)
        return StatusResult(connection.model, tuple(client.status(version=version)))
