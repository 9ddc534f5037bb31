"""gRPC channels: the options that a client of TF Serving needs, and credentials."""

from __future__ import annotations

from typing import Any

import grpc

from .options import ClientOptions

COMPRESSIONS = {None: None, "gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
_KEEPALIVE_TIMEOUT = 20.0  # seconds without an answer to a probe, or without an acknowledgement of what was sent
_MOST_BACKOFF = 1.0  # seconds between attempts to connect: a server that came back is found soon
# A name with several addresses is balanced over all of them; those that do not answer are passed over.
_SERVICE_CONFIG = '{"loadBalancingConfig": [{"round_robin": {}}]}'


def channel_options(options: ClientOptions) -> list[tuple[str, Any]]:
    """The arguments of a channel."""
    arguments: list[tuple[str, Any]] = [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),  # gRPC's default of 4 MB is soon too little
        ("grpc.service_config", _SERVICE_CONFIG),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.enable_retries", 0),  # the client's own know the deadline and the other addresses
        ("grpc.use_local_subchannel_pool", 1),  # else a client inherits the backoff of another one
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", int(_MOST_BACKOFF * 1000)),
        # Despite its name the time that an attempt to connect may take.
        ("grpc.min_reconnect_backoff_ms", int(options.connect_timeout * 1000)),
        ("grpc.keepalive_time_ms", int(options.keepalive * 1000)),
        ("grpc.keepalive_timeout_ms", int(_KEEPALIVE_TIMEOUT * 1000)),
    ]
    if options.tls is not None and options.tls.server_name:
        arguments.append(("grpc.ssl_target_name_override", options.tls.server_name))
    return arguments


def credentials(options: ClientOptions) -> grpc.ChannelCredentials | None:
    """From the PEM files, or None for a plain connection."""
    if options.tls is None:
        return None
    ca, key, certificate = options.tls.read()
    return grpc.ssl_channel_credentials(ca, key, certificate)


def headers(options: ClientOptions) -> tuple[tuple[str, str | bytes], ...]:
    """As gRPC takes them."""
    return tuple(options.metadata.items())
