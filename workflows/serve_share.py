"""What the processes of `serve --workers` have in common."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it loads prometheus_client, and workers say before where it is to count
    from attnexport.serving.server import ServerOptions


@dataclass(frozen=True)
class Share:
    """What the workers of a server have in common.

    Attributes:
        workers: How many they are.
        grpc_port: Port of gRPC, which each listens on.
        rest_fd: The listening socket of REST; None for none.
        metrics: The directory in which they count.
    """

    workers: int
    grpc_port: int
    rest_fd: int | None
    metrics: str

    def options(self, own: ServerOptions) -> ServerOptions:
        """The options of one worker."""
        arguments = (*own.grpc.channel_arguments, ("grpc.so_reuseport", 1))
        return replace(
            own,
            rest_fd=self.rest_fd,
            workers=self.workers,
            metrics_folder=self.metrics,
            grpc=replace(own.grpc, channel_arguments=arguments),
        )
