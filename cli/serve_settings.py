"""TF Serving's flags and files as the options of a Server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from attnexport.core.errors import ArgumentError, ContentError
from attnexport.serving.server import BatchingOptions, GrpcOptions, RestOptions, ServerOptions, StatusError
from attnexport.serving.server.metrics import DEFAULT_PATH
from attnexport.serving.server.text_config import BatchingParameters, MonitoringConfig, SSLConfig, read_text

_PORT, _REST_PORT = 8500, 8501
# Those that this process may use.
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# A model computes in the thread of its request: more threads than cores wait for each other, in Python's lock too. With
# batching, requests wait in their threads for company.
_THREADS, _BATCHING_THREADS = max(2, _CORES), 64


def server_options(options: dict[str, Any], *, rest_by_default: bool) -> ServerOptions:
    """What a Server is made with.

    Raises:
        ArgumentError: where flags contradict each other, or a file does not exist.
        ContentError: where a file does not parse.
    """
    batching = _batching(options)
    rest_port = options["rest_api_port"]
    if rest_port is None:
        rest_port = _REST_PORT if rest_by_default else 0
    port = _PORT if options["port"] is None else options["port"]
    if port == rest_port and port not in (0, "auto"):
        raise ArgumentError(f"--port and --rest_api_port are both {port}; each wants one of its own")
    threads = options["grpc_max_threads"] or (_THREADS if batching is None else _BATCHING_THREADS)
    return ServerOptions(
        host=options["host"],
        port=0 if port == "auto" else port,
        rest_port={0: None, "auto": 0}.get(rest_port, rest_port),
        grpc=GrpcOptions(
            threads=threads,
            tensor_content=options["enable_serialization_as_tensor_content"],
            max_message_bytes=options["max_message_bytes"],
            health_service=options["enable_grpc_healthcheck_service"],
            socket_path=options["grpc_socket_path"],
            channel_arguments=_channel_arguments(options["grpc_channel_arguments"]),
            credentials=_credentials(options["ssl_config_file"]),
        ),
        rest=RestOptions(
            threads=max(1, options["rest_api_num_threads"]),
            timeout_seconds=options["rest_api_timeout_in_ms"] / 1000,
            max_body_bytes=options["max_body_bytes"],
            metrics_path=_metrics_path(options["monitoring_config_file"]),
            cors=options["rest_api_enable_cors_support"],
        ),
        poll_seconds=max(0.0, options["file_system_poll_wait_seconds"]),
        max_load_retries=max(0, options["max_num_load_retries"]),
        retry_interval_seconds=options["load_retry_interval_micros"] / 1e6,
        warmup=options["enable_model_warmup"],
        warmup_iterations=options["num_request_iterations_for_warmup"],
        check_method_names=options["enable_signature_method_name_check"],
        allow_unavailable_labels=options["allow_version_labels_for_unavailable_models"],
        batching=batching,
        grace_seconds=options["grace_seconds"],
    )


def _batching(options: dict[str, Any]) -> BatchingOptions | None:
    path = options["batching_parameters_file"]
    if path and not options["enable_batching"]:
        raise ArgumentError("--batching_parameters_file is given without --enable_batching; give both or neither")
    if not options["enable_batching"]:
        return None
    given: dict[str, Any] = {"num_batch_threads": _CORES}
    if path:
        message = read_text(Path(path), BatchingParameters)
        for field, value in message.ListFields():
            if field.name == "allowed_batch_sizes":
                given[field.name] = tuple(value)
            elif field.name != "thread_pool_name":
                given[field.name] = getattr(value, "value", value)
        if "max_batch_size" not in given and "allowed_batch_sizes" in given:
            given["max_batch_size"] = given["allowed_batch_sizes"][-1]
    try:
        return BatchingOptions(**given)
    except ArgumentError as error:
        raise ContentError(f"{path}: {error}") from error


def _metrics_path(path: str | None) -> str | None:
    if not path:
        return DEFAULT_PATH
    config = read_text(Path(path), MonitoringConfig).prometheus_config
    if not config.enable:
        return None
    chosen = config.path or DEFAULT_PATH
    if not chosen.startswith("/"):
        raise ContentError(f"{path}: the path of prometheus_config must begin with '/'; received {chosen!r}")
    return str(chosen)


def _credentials(path: str | None) -> Any:
    if not path:
        return None
    from attnexport.serving.server.grpc_edge import server_credentials

    try:
        return server_credentials(read_text(Path(path), SSLConfig))
    except StatusError as error:
        raise ContentError(f"{path}: {error}") from error


def _channel_arguments(text: str) -> tuple[tuple[str, Any], ...]:
    found = []
    for each in filter(None, text.split(",")):
        name, equals, value = each.partition("=")
        if not equals:
            raise ArgumentError(f"--grpc_channel_arguments: {each!r} has no value; a=1,b=2 is wanted")
        found.append((name, int(value) if value.lstrip("-").isdecimal() else value))
    return tuple(found)
