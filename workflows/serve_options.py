"""The settings, and the files they name, as the options of a Server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from attnexport.core.errors import ArgumentError, ContentError
from attnexport.serving.server import BatchingOptions, GrpcOptions, RestOptions, ServerOptions, StatusError
from attnexport.serving.server.metrics import DEFAULT_PATH
from attnexport.serving.server.text_config import BatchingParameters, MonitoringConfig, SSLConfig, read_text

from .serve_models import ArtifactLoader
from .serve_settings import Port, ServeSettings

LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Cores that this process may use.
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# A model computes in the thread of its request, so more threads than cores only wait for each other, also for Python's
# lock. With batching, requests wait in their threads until their batch has run.
_THREADS, _BATCHING_THREADS = max(2, _CORES), 64


def server_options(settings: ServeSettings, *, port: Port, rest_port: Port | None) -> ServerOptions:
    """The options of a Server.

    Args:
        settings: TF Serving's flags.
        port: gRPC port; `auto` takes a free one, 0 none, so that gRPC listens on the Unix socket only.
        rest_port: REST port; `auto` takes a free one, 0 and None turn REST off.

    Raises:
        ArgumentError: if settings contradict each other, or a file does not exist.
        ContentError: if a file does not parse.
    """
    batching = _batching(settings)
    if port == 0 and not settings.grpc_socket_path:
        raise ArgumentError(
            "--port is 0 and there is no --grpc_socket_path, so gRPC would listen nowhere; give a port, auto for a "
            "free one, or a socket"
        )
    if port == rest_port and port not in (0, "auto"):
        raise ArgumentError(f"--port and --rest_api_port are both {port}; give them different ports")
    if settings.require_tls and settings.host not in LOOPBACK:
        if rest_port not in (0, None):
            raise ArgumentError(
                f"--require_tls: REST has no TLS and would listen on {settings.host}; give --rest_api_port 0, and put "
                "a proxy that ends TLS in front of a server on 127.0.0.1 if you need REST"
            )
        if not settings.ssl_config_file:
            raise ArgumentError(
                f"--require_tls: gRPC would listen on {settings.host} without TLS; give --ssl_config_file, or "
                "--host 127.0.0.1"
            )
    return ServerOptions(
        host=settings.host,
        port=0 if port == "auto" else port or None,
        rest_port=0 if rest_port == "auto" else rest_port or None,
        grpc=GrpcOptions(
            threads=settings.grpc_max_threads or (_THREADS if batching is None else _BATCHING_THREADS),
            tensor_content=settings.enable_serialization_as_tensor_content,
            max_message_bytes=settings.max_message_bytes,
            health_service=settings.enable_grpc_healthcheck_service,
            socket_path=settings.grpc_socket_path,
            channel_arguments=_channel_arguments(settings.grpc_channel_arguments),
            credentials=_credentials(settings.ssl_config_file),
        ),
        rest=RestOptions(
            threads=max(1, settings.rest_api_num_threads),
            timeout_seconds=settings.rest_api_timeout_in_ms / 1000,
            max_body_bytes=settings.max_body_bytes,
            metrics_path=_metrics_path(settings.monitoring_config_file),
            cors=settings.rest_api_enable_cors_support,
        ),
        poll_seconds=max(0.0, settings.file_system_poll_wait_seconds),
        max_load_retries=max(0, settings.max_num_load_retries),
        retry_interval_seconds=settings.load_retry_interval_micros / 1e6,
        warmup=settings.enable_model_warmup,
        warmup_iterations=settings.num_request_iterations_for_warmup,
        check_method_names=settings.enable_signature_method_name_check,
        strict_shapes=settings.strict_shapes,
        allow_unavailable_labels=settings.allow_version_labels_for_unavailable_models,
        batching=batching,
        grace_seconds=settings.grace_seconds,
    )


def artifact_loader(settings: ServeSettings, *, trust: bool) -> ArtifactLoader:
    """The loader of SavedModels and .tflite files; see `serve` for `trust`."""
    session = settings.tensorflow_session_parallelism
    return ArtifactLoader(
        prefer_tflite=settings.prefer_tflite_model,
        tags=tuple(tag for tag in settings.saved_model_tags.split(",") if tag),
        interpreters=max(1, settings.num_tflite_interpreters_per_pool),
        intra_op_threads=settings.tensorflow_intra_op_parallelism or session or 1,
        inter_op_threads=settings.tensorflow_inter_op_parallelism or session or 1,
        trust=trust,
    )


def _batching(settings: ServeSettings) -> BatchingOptions | None:
    path = settings.batching_parameters_file
    if path and not settings.enable_batching:
        raise ArgumentError("--batching_parameters_file is given without --enable_batching; give both or neither")
    if not settings.enable_batching:
        return None
    parameters: dict[str, Any] = {"num_batch_threads": _CORES}
    if path:
        message = read_text(Path(path), BatchingParameters)
        for field, value in message.ListFields():
            if field.name == "allowed_batch_sizes":
                parameters[field.name] = tuple(value)
            elif field.name != "thread_pool_name":
                parameters[field.name] = getattr(value, "value", value)
        if "max_batch_size" not in parameters and "allowed_batch_sizes" in parameters:
            parameters["max_batch_size"] = parameters["allowed_batch_sizes"][-1]
    try:
        return BatchingOptions(**parameters)
    except ArgumentError as error:
        raise ContentError(f"{path}: {error}") from error


def _metrics_path(path: str | None) -> str | None:
    if not path:
        return DEFAULT_PATH
    config = read_text(Path(path), MonitoringConfig).prometheus_config
    if not config.enable:
        return None
    metrics_path = config.path or DEFAULT_PATH
    if not metrics_path.startswith("/"):
        raise ContentError(f"{path}: the path in prometheus_config must begin with '/'; received {metrics_path!r}")
    return str(metrics_path)


def _credentials(path: str | None) -> Any:
    if not path:
        return None
    from attnexport.serving.server.grpc_edge import server_credentials

    try:
        return server_credentials(read_text(Path(path), SSLConfig))
    except StatusError as error:
        raise ContentError(f"{path}: {error}") from error


def _channel_arguments(text: str) -> tuple[tuple[str, int | str], ...]:
    arguments: list[tuple[str, int | str]] = []
    for each in filter(None, text.split(",")):
        name, equals, value = each.partition("=")
        if not equals:
            raise ArgumentError(f"--grpc_channel_arguments: {each!r} has no value; write a=1,b=2")
        arguments.append((name, int(value) if value.lstrip("-").isdecimal() else value))
    return tuple(arguments)
