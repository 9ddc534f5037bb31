"""The flags of tensorflow_model_server, by its names and in its ways of writing them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

_TRUTHS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
_TRUTHS_WITHOUT_EFFECT = (
    "flush_filesystem_caches", "enable_profiler", "enable_per_model_batching_parameters",
    "remove_unused_fields_from_bundle_metagraph", "skip_initialize_tpu", "xla_cpu_compilation_enabled",
)  # fmt: skip
_WITHOUT_EFFECT = (
    "num_load_threads", "num_unload_threads", "platform_config_file", "mixed_precision", "num_tflite_pools",
    "tensorflow_session_config_file", "per_process_gpu_memory_fraction", "thread_pool_factory_config_file",
    *_TRUTHS_WITHOUT_EFFECT,
)  # fmt: skip

_TEXT: dict[str, tuple[Any, str]] = {
    "grpc_socket_path": (None, "Listen on this unix socket, too."),
    "grpc_channel_arguments": ("", "Channel arguments of gRPC: a=1,b=2."),
    "batching_parameters_file": (None, "Text-format BatchingParameters; with --enable_batching."),
    "model_config_file": (None, "Text-format ModelServerConfig: models, version policies, labels."),
    "model_name": ("default", "What --model_base_path is served as."),
    "model_base_path": (None, "A directory of version directories, each a SavedModel of TF 1 or 2."),
    "ssl_config_file": (None, "Text-format SSLConfig: gRPC by TLS."),
    "monitoring_config_file": (None, "Text-format MonitoringConfig: where the metrics are."),
    "saved_model_tags": ("serve", "Tags of the graph, separated by commas."),
}
_NUMBERS: dict[str, tuple[float, str]] = {
    "rest_api_num_threads": (8, "Threads that run REST requests."),
    "rest_api_timeout_in_ms": (30000, "For reading a REST request (else 408) and running it (504); 0: no limit."),
    "model_config_file_poll_wait_seconds": (0, "Between two looks at --model_config_file; 0: never again."),
    "file_system_poll_wait_seconds": (1, "Between two looks for new versions; 0: never again."),
    "max_num_load_retries": (0, "How often a version that fails to load is tried again."),
    "load_retry_interval_micros": (60_000_000, "The pause before each of these tries."),
    "tensorflow_session_parallelism": (0, "Threads of a session, for both of the next; 0: as they say."),
    "tensorflow_intra_op_parallelism": (0, "Threads within an operator; 0: one."),
    "tensorflow_inter_op_parallelism": (0, "Threads between operators; 0: one."),
    "grpc_max_threads": (0, "Threads that run gRPC requests; 0: as many as cores, or 64 with batching."),
    "num_request_iterations_for_warmup": (1, "How often each warm-up record is replayed."),
    "num_tflite_interpreters_per_pool": (1, "How many requests a .tflite answers at once."),
}
# To TF Serving, as none at all.
_MAY_BE_NEGATIVE = (
    "file_system_poll_wait_seconds", "model_config_file_poll_wait_seconds", "max_num_load_retries",
    "load_retry_interval_micros",
)  # fmt: skip
_TRUE_OR_FALSE: dict[str, tuple[bool, str]] = {
    "rest_api_enable_cors_support": (False, "Let pages of other origins ask."),
    "enable_batching": (False, "Join requests that arrive together."),
    "enable_model_warmup": (True, "Replay a version's warm-up records before it is available."),
    "prefer_tflite_model": (False, "Serve model.tflite where a version's directory has one."),
    "enable_signature_method_name_check": (False, "Classify and Regress want the method that the artifact names."),
    "allow_version_labels_for_unavailable_models": (False, "Labels may name versions that are not available."),
    "enable_grpc_healthcheck_service": (False, "Answer gRPC health checks."),
    "enable_serialization_as_tensor_content": (False, "Reply in tensor_content, the fast form."),
}


class Port(click.ParamType[Any]):
    """A port: a number, or `auto` for a free one."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "auto":
            return value
        try:
            number = int(value)
        except ValueError:
            number = -1
        if not 0 <= number <= 65535:
            self.fail(f"{value!r} is no port: a number up to 65535, or auto, is wanted", param, ctx)
        return number


class Truth(click.ParamType[bool]):
    """true or false."""

    name = "true|false"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() not in _TRUTHS:
            self.fail(f"{value!r} is neither true nor false", param, ctx)
        return _TRUTHS[str(value).lower()]


class ServingCommand(click.Command):
    """A command that takes `--a_flag` and `--a-flag`, and `--truth` without a value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = {name for each in self.params for name in each.opts}
        rewritten: list[str] = []
        words = iter(range(len(args)))
        for place in words:
            word = args[place]
            if word == "--":
                rewritten += args[place:]
                break
            flag, equals, value = word.partition("=")
            underscored = "--" + flag[2:].replace("-", "_")
            if flag.startswith("--") and flag not in known and underscored in known:
                flag = underscored
            if flag[2:] in (*_TRUE_OR_FALSE, *_TRUTHS_WITHOUT_EFFECT) and not equals:
                following = args[place + 1].lower() if place + 1 < len(args) else ""
                equals, value = "=", following if following in _TRUTHS else "true"
                if following in _TRUTHS:
                    next(words)
            rewritten.append(flag + equals + value)
        return super().parse_args(ctx, rewritten)


def serving_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add TF Serving's flags to a command."""
    options = [
        click.version_option(package_name="attnexport", message="attnexport %(version)s"),
        click.option("--port", type=Port(), help="Of gRPC. [8500]"),
        click.option("--rest_api_port", type=Port(), help="Of REST, 0 for none. [8501 with EXPORT, else none]"),
    ]
    for name, (default, text) in _TEXT.items():
        options.append(click.option(f"--{name}", default=default, help=text, show_default=bool(default)))
    for key, (number, text) in _NUMBERS.items():
        plain, counted = (float, click.FloatRange(0)) if key.endswith("seconds") else (int, click.IntRange(0))
        kind: Any = plain if key in _MAY_BE_NEGATIVE else counted
        options.append(click.option(f"--{key}", type=kind, default=number, help=text, show_default=True))
    for key, (truth, text) in _TRUE_OR_FALSE.items():
        options.append(click.option(f"--{key}", type=Truth(), default=truth, show_default=True, help=text))
    for key in _WITHOUT_EFFECT:
        options.append(click.option(f"--{key}", hidden=True, help="Taken, and without effect here."))
    for option in reversed(options):
        function = option(function)
    return function


def without_effect(options: dict[str, Any]) -> list[str]:
    """The flags that were given and that change nothing here."""
    return sorted(name for name in _WITHOUT_EFFECT if options[name] is not None)
