"""What serves, as users see it: addresses, models and their versions."""

from __future__ import annotations

import shlex
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self
from urllib.parse import quote

from attnexport.core.progress import Progress, silent

from .result import Block, Line, Result


@dataclass(frozen=True)
class ServedVersion:
    """A version of a served model: START, LOADING, AVAILABLE, UNLOADING or END, with its error if it failed to load."""

    version: int
    state: str
    error: str


@dataclass(frozen=True)
class ServedModel:
    """A served model.

    Attributes:
        name: Name it is served under.
        base_path: Directory of its version directories.
        versions: Its versions, newest first.
    """

    name: str
    base_path: str
    versions: tuple[ServedVersion, ...]

    @property
    def available(self) -> bool:
        """Whether any version answers requests."""
        return any(each.state == "AVAILABLE" for each in self.versions)


@dataclass(frozen=True)
class ServeResult(Result):
    """Where a server listens, and what it serves.

    Attributes:
        grpc_address: `HOST:PORT` of gRPC; `unix:PATH` if it has no port.
        rest_address: URL of REST; None if it is off.
        models: The models and their versions.
    """

    grpc_address: str | None
    rest_address: str | None
    models: tuple[ServedModel, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"grpc": self.grpc_address, "rest": self.rest_address, "models": [asdict(each) for each in self.models]}

    def blocks(self) -> Sequence[Block]:
        edges = (("gRPC", self.grpc_address), ("REST", self.rest_address))
        lines = [f"{edge}  {address}" for edge, address in edges if address]
        width = max((len(model.name) for model in self.models), default=0)
        for model in self.models:
            states = ", ".join(f"version {each.version} {each.state}" for each in model.versions)
            lines.append(f"  {model.name:<{width}}  {states or f'no versions yet in {model.base_path}'}")
        if commands := self.next_commands:
            lines += ["\nTry:", *(f"  {command}" for command in commands)]
        return [Line(line) for line in lines]

    @property
    def next_commands(self) -> tuple[str, ...]:
        """Commands that query the first available model."""
        name = next((model.name for model in self.models if model.available), None)
        if name is None:
            return ()
        commands = []
        if self.grpc_address:
            commands.append(shlex.join(["attnexport", "metadata", "--server", self.grpc_address, "--model", name]))
        if self.rest_address:
            commands.append(shlex.join(["curl", f"{self.rest_address}/v1/models/{quote(name, safe='')}"]))
        return tuple(commands)


class EmbeddedServer(Result):
    """A server that starts with its `with` block and stops with it; it prints as where it listens and what it serves.

    Attributes:
        grpc_address: `HOST:PORT` of gRPC; `unix:PATH` if it has no port.
        rest_address: URL of REST; None if it is off.
    """

    grpc_address: str | None = None
    rest_address: str | None = None

    @abstractmethod
    def start(self, progress: Progress = silent, *, own_process: bool = False) -> None:
        """Load the models, then answer requests.

        Args:
            progress: Called with what is being done.
            own_process: This process does nothing else: keep the garbage collector from searching all that is imported
                whenever a version is freed.

        Raises:
            ContentError: if no model can be loaded.
        """

    @abstractmethod
    def close(self) -> bool:
        """Refuse new requests, and wait for running ones as long as `grace_seconds`.

        Returns:
            Whether all of them ended.
        """

    @abstractmethod
    def state(self) -> ServeResult:
        """The addresses, and the present states of the models."""

    def to_dict(self) -> dict[str, Any]:
        return self.state().to_dict()

    def blocks(self) -> Sequence[Block]:
        return self.state().blocks()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
