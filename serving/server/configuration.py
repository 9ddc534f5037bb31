"""Which models and versions are served: TF Serving's ModelServerConfig as values, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnexport.core.signature import duplicates

from .status import invalid

PLATFORM = "tensorflow"
_TENSORFLOW_TYPE = 1  # of the deprecated enum tensorflow.serving.ModelType


@dataclass(frozen=True)
class VersionPolicy:
    """Which of the versions on disk are served.

    Attributes:
        latest: That many of the greatest numbers; ignored where `specific` or `every` says otherwise.
        specific: Exactly these.
        every: All of them.
    """

    latest: int = 1
    specific: frozenset[int] = frozenset()
    every: bool = False

    def choose(self, found: Iterable[int]) -> list[int]:
        """The versions to serve, ascending, of those that are there."""
        numbers = sorted(found)
        if self.every:
            return numbers
        if self.specific:
            return [number for number in numbers if number in self.specific]
        return numbers[-self.latest :]


@dataclass(frozen=True)
class ModelConfig:
    """One model to serve.

    Attributes:
        name: What requests call it.
        base_path: The directory of its version directories.
        artifact: The file in a version's directory that is served; the SavedModel itself where None.
        policy: Which versions are served.
        labels: Version numbers by label.
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
        StatusError: where TF Serving would refuse it too.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise invalid("the configuration has no model_config_list; one with at least a name and base_path is wanted")
    models = config.model_config_list.config
    repeated = duplicates(model.name for model in models)
    if repeated:
        raise invalid(f"the configuration names the model {repeated[0]!r} twice; names must be unique")
    served = set(known)
    return [_model(each, each.name in served) for each in models]


def _model(message: Any, served: bool) -> ModelConfig:
    name = message.name
    if not name:
        raise invalid("a model of the configuration has no name")
    if not Path(message.base_path).is_absolute():
        raise invalid(f"model {name!r} has base_path {message.base_path!r}; an absolute path is wanted")
    platform = message.model_platform
    if message.model_type:
        if platform:
            raise invalid(f"model {name!r} has both model_platform and the deprecated model_type; give the first alone")
        platform = PLATFORM if message.model_type == _TENSORFLOW_TYPE else f"type {message.model_type}"
    if not platform:
        raise invalid(f"model {name!r} has no model_platform; {PLATFORM!r} is wanted")
    if platform != PLATFORM:
        change = f"is served on {PLATFORM!r} and cannot change to" if served else "has model_platform"
        raise invalid(f"model {name!r} {change} {platform!r}; {PLATFORM!r} is the only one")
    policy = message.model_version_policy
    return ModelConfig(
        name=name,
        base_path=Path(message.base_path),
        policy=_policy(name, policy),
        labels=dict(message.version_labels),
    )


def _policy(name: str, message: Any) -> VersionPolicy:
    choice = message.WhichOneof("policy_choice")
    if choice == "all":
        return VersionPolicy(every=True)
    if choice == "specific":
        if not message.specific.versions:
            raise invalid(f"model {name!r}: the version policy `specific` names no version")
        return VersionPolicy(specific=frozenset(message.specific.versions))
    # 0 is how proto3 says that nothing was said.
    return VersionPolicy(latest=message.latest.num_versions or 1)
