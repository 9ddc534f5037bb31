"""The settings of the embedded server: TF Serving's own flags, and a few more. This table is also that of the command.

Each field is a flag of the same name; its help says what it does.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal, TypeVar

Port = int | Literal["auto"]  # `auto` takes a free port, 0 none

Value = TypeVar("Value")

# Flags of tensorflow_model_server that are accepted and change nothing here; those of the second group are switches.
IGNORED_FLAGS = (
    "num_load_threads", "num_unload_threads", "platform_config_file", "mixed_precision", "num_tflite_pools",
    "tensorflow_session_config_file", "per_process_gpu_memory_fraction", "thread_pool_factory_config_file",
)  # fmt: skip
IGNORED_SWITCHES = (
    "flush_filesystem_caches", "enable_profiler", "enable_per_model_batching_parameters",
    "remove_unused_fields_from_bundle_metagraph", "skip_initialize_tpu", "xla_cpu_compilation_enabled",
)  # fmt: skip


def _flag(default: Value, text: str, metavar: str | None = None, *, minimum: int | None = None) -> Value:
    """A field with its help, what stands for its value there, and the smallest number that is accepted."""
    value: Value = field(default=default, metadata={"help": text, "metavar": metavar, "minimum": minimum})
    return value


@dataclass(frozen=True)
class ServeSettings:
    """How the embedded server listens and works; every field has TF Serving's default.

    `flags()` describes each field. A negative `file_system_poll_wait_seconds`, `model_config_file_poll_wait_seconds`,
    `max_num_load_retries` or `load_retry_interval_micros` counts as 0, as with TF Serving.

    Example:
        >>> ServeSettings(enable_batching=True).enable_batching
        True
        >>> ServeSettings.flags()["host"].metadata["help"]
        'Address to listen on.'
    """

    host: str = _flag("127.0.0.1", "Address to listen on.", "ADDRESS")
    max_message_bytes: int = _flag(1 << 30, "Largest gRPC message.", minimum=1)
    max_body_bytes: int = _flag(128 << 20, "Largest REST body, decompressed.", minimum=1)
    workers: int = _flag(1, "Processes that serve on these ports.", minimum=1)
    grace_seconds: float = _flag(10.0, "Seconds that running requests get when the server stops.", minimum=0)

    grpc_socket_path: str | None = _flag(None, "Also listen for gRPC on this Unix socket; alone with --port 0.", "PATH")
    grpc_channel_arguments: str = _flag("", "gRPC channel arguments: a=1,b=2.", "NAME=VALUE,…")
    batching_parameters_file: str | None = _flag(None, "BatchingParameters as text; needs --enable_batching.", "FILE")
    model_config_file: str | None = _flag(None, "ModelServerConfig as text: models, version policies, labels.", "FILE")
    model_name: str = _flag("default", "Name the model in --model_base_path is served under.", "NAME")
    model_base_path: str | None = _flag(None, "Directory of versions, each a TF 1 or TF 2 SavedModel.", "DIR")
    ssl_config_file: str | None = _flag(None, "SSLConfig as text; turns on TLS for gRPC.", "FILE")
    monitoring_config_file: str | None = _flag(None, "MonitoringConfig as text: path of the metrics.", "FILE")
    saved_model_tags: str = _flag("serve", "Tags of the graph to load, separated by commas.", "TAG,…")

    rest_api_num_threads: int = _flag(8, "Threads that run REST requests.", minimum=0)
    rest_api_timeout_in_ms: int = _flag(
        30000, "Time limit for reading a REST request (else 408) and running it (else 504); 0 for none.", minimum=0
    )
    model_config_file_poll_wait_seconds: float = _flag(
        0.0, "Seconds between polls of --model_config_file; 0 reads it only at startup."
    )
    file_system_poll_wait_seconds: float = _flag(
        1.0, "Seconds between polls for new versions; 0 polls only at startup."
    )
    max_num_load_retries: int = _flag(0, "Retries of a version that fails to load.")
    load_retry_interval_micros: int = _flag(60_000_000, "Microseconds between these retries.")
    tensorflow_session_parallelism: int = _flag(
        0, "Threads of a session, for both of the next options; 0 leaves it to them.", minimum=0
    )
    tensorflow_intra_op_parallelism: int = _flag(0, "Threads within an operator; 0 for 1.", minimum=0)
    tensorflow_inter_op_parallelism: int = _flag(0, "Threads that run operators side by side; 0 for 1.", minimum=0)
    grpc_max_threads: int = _flag(
        0, "Threads that run gRPC requests; 0 for one per core, or 64 with batching.", minimum=0
    )
    num_request_iterations_for_warmup: int = _flag(1, "Times each warm-up record is replayed.", minimum=0)
    num_tflite_interpreters_per_pool: int = _flag(1, "Requests a .tflite runs at once.", minimum=0)

    rest_api_enable_cors_support: bool = _flag(False, "Let pages of other origins send requests.")
    enable_batching: bool = _flag(False, "Run requests that arrive together as one batch.")
    enable_model_warmup: bool = _flag(True, "Replay the warm-up records of a version before it is available.")
    prefer_tflite_model: bool = _flag(False, "Serve model.tflite if a version's directory has one.")
    enable_signature_method_name_check: bool = _flag(
        False, "Require a known method name in the signature: Classify and Regress their own, Predict any of the three."
    )
    allow_version_labels_for_unavailable_models: bool = _flag(False, "Let labels name versions that are not available.")
    enable_grpc_healthcheck_service: bool = _flag(False, "Answer gRPC health checks.")
    enable_serialization_as_tensor_content: bool = _flag(False, "Reply in tensor_content, which is faster to read.")
    require_tls: bool = _flag(False, "Refuse to listen beyond this machine without TLS.")
    strict_shapes: bool = _flag(
        False, "Refuse inputs of other shapes than the signature declares; TF Serving leaves that to the graph."
    )

    @classmethod
    def flags(cls) -> dict[str, Field[Any]]:
        """The fields by name, with their defaults; `metadata` has `help`, `metavar` and `minimum`."""
        return {each.name: each for each in fields(cls)}
