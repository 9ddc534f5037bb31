"""Which models and versions are served: TF Serving's ModelServerConfig as values, checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnexport.core.signature import duplicates

from .status import invalid

PLATFORM = "tensorflow"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_FILES = "file://"  # then a host, which TensorFlow ignores, and the path
_TENSORFLOW_TYPE = 1  # of the deprecated enum tensorflow.serving.ModelType


@dataclass(frozen=True)
class VersionPolicy:
    """Which of the versions on disk are served.

    Attributes:
        latest: How many of the greatest numbers; ignored if `specific` or `every` is given.
        specific: Exactly these numbers, which may be none; None does not name them.
        every: All of them.

    Example:
        >>> VersionPolicy(latest=2).choose([1, 2, 10])
        [2, 10]
        >>> VersionPolicy(specific=frozenset({1, 3})).choose([1, 2])
        [1]
    """

    latest: int = 1
    specific: frozenset[int] | None = None
    every: bool = False

    def choose(self, versions: Iterable[int]) -> list[int]:
        """The versions to serve, ascending, of those on disk."""
        numbers = sorted(versions)
        if self.every:
            return numbers
        if self.specific is not None:
            return [number for number in numbers if number in self.specific]
        return numbers[-self.latest :]


@dataclass(frozen=True)
class ModelConfig:
    """One model to serve.

    Attributes:
        name: The name that requests give.
        base_path: The directory of its version directories.
        artifact: The file in a version's directory that is served; None serves the SavedModel.
        policy: Which versions are served.
        labels: Version numbers by label.

    Example:
        >>> ModelConfig("digits", Path("/models/digits"), labels={"stable": 3}).policy
        VersionPolicy(latest=1, specific=None, every=False)
    """

    name: str
    base_path: Path
    artifact: str | None = None
    policy: VersionPolicy = VersionPolicy()
    labels: Mapping[str, int] = field(default_factory=dict)


def configs_from_message(config: Any, known: Iterable[str] = ()) -> Sequence[ModelConfig]:
    """The models of a tensorflow.serving.ModelServerConfig.

    Args:
        config: The message.
        known: Names of models that are served already, all on the platform `tensorflow`.

    Raises:
        StatusError: INVALID_ARGUMENT for what TF Serving refuses, in words that begin with its own.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise invalid(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
            "supported: the configuration needs a model_config_list of models with name, base_path and model_platform"
        )
    models = config.model_config_list.config
    repeated = duplicates(model.name for model in models)
    if repeated:
        raise invalid(f"Illegal to list model {repeated[0]} multiple times in config list; names must be unique")
    for model in models:
        path = local_path(model.base_path)
        if _SCHEME.match(path):
            raise invalid(f"model {model.name!r} has base_path {model.base_path!r}; only local paths are read")
        if not Path(path).is_absolute():
            raise invalid(
                f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
            )
    served = set(known)
    return [_model(each, each.name in served) for each in models]


def local_path(text: str) -> str:
    """A path, also of a URI of files on this machine, as TensorFlow reads it; other URIs as they are.

    Example:
        >>> local_path("/models"), local_path("file:///models"), local_path("gs://bucket/m")
        ('/models', '/models', 'gs://bucket/m')
    """
    return "/" + text[len(_FILES) :].partition("/")[2] if text.startswith(_FILES) else text


def _model(message: Any, served: bool) -> ModelConfig:
    name, platform = message.name, message.model_platform
    if message.model_type:
        if platform:
            raise invalid(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                f"ModelServerConfig::model_platform, model name is {name}; give model_platform alone"
            )
        if message.model_type != _TENSORFLOW_TYPE:
            raise invalid(f"ModelServerConfig::model_type choice {message.model_type} not supported. Model: {name}")
        platform = PLATFORM
    if not platform:
        raise invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {name}; give model_platform: {PLATFORM!r}"
        )
    if platform != PLATFORM and served:
        raise invalid(
            f"Illegal to change a model's platform. For model {name} platform was {PLATFORM} and new platform "
            f"requested is {platform}"
        )
    if platform != PLATFORM:
        raise invalid(f"Model {name} requests unsupported platform {platform}; {PLATFORM!r} is the only one")
    return ModelConfig(
        name=name,
        base_path=Path(local_path(message.base_path)),
        policy=_policy(message.model_version_policy),
        labels=dict(message.version_labels),
    )


def _policy(message: Any) -> VersionPolicy:
    choice = message.WhichOneof("policy_choice")
    if choice == "all":
        return VersionPolicy(every=True)
    if choice == "specific":
        return VersionPolicy(specific=frozenset(message.specific.versions))
    return VersionPolicy(latest=message.latest.num_versions or 1)  # 0 is unset in proto3
