"""The models that are served, and the version that each request gets."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from attnexport.core.errors import no_such, one_of
from attnexport.serving.codec import ServedModel

from .configuration import ModelConfig
from .model_lifecycle import LoadContext, ManagedModel, ServedVersions
from .status import Code, StatusError, invalid
from .versions import ServedVersion, VersionStatus

_MAX_FIRST_SCANS = 20  # of a new configuration, while the files of a version still change
_FIRST_WAIT = 0.25  # seconds between them


class ModelManager:
    """Keeps models as their configuration and the disk have them.

    Args:
        context: What versions are loaded with.
        poll_seconds: Seconds between two scans of the base paths; 0 scans only when a configuration comes.
        allow_unavailable_labels: Whether a new label may name a version that is not available.
    """

    def __init__(
        self, context: LoadContext, *, poll_seconds: float = 1.0, allow_unavailable_labels: bool = False
    ) -> None:
        self._context = context
        self._poll_seconds, self._allow_unavailable_labels = poll_seconds, allow_unavailable_labels
        self._models: dict[str, ManagedModel] = {}  # replaced whole: requests read it without a lock
        self._turn = threading.RLock()
        self._ended = context.ended
        self._poller: threading.Thread | None = None

    def configure(self, configs: Sequence[ModelConfig]) -> None:
        """Serve these models and no others; returns when their versions are available or have failed.

        Labels are checked before anything loads, as TF Serving does: load a version by one configuration, label it by
        the next.

        Raises:
            StatusError: FAILED_PRECONDITION for a label of a version that is not available. Nothing changes then.
        """
        wanted = {config.name: config for config in configs}
        with self._turn:
            self._check_labels(configs)
            models = dict(self._models)
            for name, model in models.items():
                model.removed = name not in wanted
            for name, config in wanted.items():
                model = models.setdefault(name, ManagedModel(config, self._context))
                if (model.config.base_path, model.config.artifact) != (config.base_path, config.artifact):
                    # Other versions of the same numbers: the old ones serve until the new ones do.
                    models[name] = model = ManagedModel(config, self._context, model.served)
                model.config = config
            for name, model in models.items():
                model.label(wanted[name].labels if name in wanted else {})
            self._models = models
            for _ in range(_MAX_FIRST_SCANS):
                self.scan()
                if not any(model.unsettled for model in models.values()) or self._ended.wait(_FIRST_WAIT):
                    break

    def reload(self, configs: Sequence[ModelConfig]) -> None:
        """Serve these models and no others, as a reload by a client asks for.

        Raises:
            StatusError: FAILED_PRECONDITION as for `configure`; UNKNOWN if no version of a model that was not
                configured before loads.
        """
        with self._turn:
            known = {config.name for config in self.configs()}
            self.configure(configs)
            failures = {
                config.name: failure
                for config in configs
                if config.name not in known and (failure := self._models[config.name].failure()) is not None
            }
        if failures:
            each = "".join(
                f"{{name: {name} version: {status.version} due to error: {status.code.name}: {status.message}}}, "
                for name, status in failures.items()
            )
            raise StatusError(Code.UNKNOWN, f"{len(failures)} model(s) did not become available: {{{each}}}")

    def start_polling(self) -> None:
        """Scan the base paths from now on, until `stop`."""
        if self._poll_seconds > 0:
            self._poller = threading.Thread(target=self._poll, name="versions", daemon=True)
            self._poller.start()

    def stop(self, seconds: float) -> bool:
        """Unload every version when the requests that hold it are done; what is still held after that time stays.

        Returns:
            Whether everything has stopped.
        """
        until = time.monotonic() + seconds
        self._ended.set()
        if self._poller is not None:
            self._poller.join(_left(until))
        is_loading = not self._turn.acquire(timeout=_left(until))
        if not is_loading:
            try:
                self._unload_all()
            finally:
                self._turn.release()
        unloading = list(self._context.unloading)
        for thread, _ in unloading:
            thread.join(_left(until))
        held = [version for thread, version in unloading if thread.is_alive()]
        for version in held:
            if version.is_running:  # else it is being freed
                which = f"model {version.name!r} version {version.number}"
                self._context.on_event(f"{which} still runs a request and stays loaded")
        return not is_loading and not held

    def scan(self) -> None:
        """Bring every model up to date with the disk, once."""
        with self._turn:
            for model in self._models.values():
                if self._ended.is_set():
                    break
                model.update()
            if self._ended.is_set():  # a version was loading, so that `stop` had no turn
                self._unload_all()

    def configs(self) -> list[ModelConfig]:
        """The models that are configured."""
        return [model.config for model in self._models.values() if not model.removed]

    def has_model(self, name: str) -> bool:
        """Whether a model of that name is, or was, configured."""
        return name in self._models

    def served(self, name: str) -> ServedVersions:
        """What requests see of a model; nothing of a model that is unknown."""
        model = self._models.get(name)
        return model.served if model is not None else ServedVersions()

    def statuses(self, name: str) -> list[VersionStatus]:
        """The status of every version of a model that is remembered, the newest first.

        A model that is no longer configured still has them; an unknown one has none.
        """
        model = self._models.get(name)
        return model.statuses() if model is not None else []

    def describe_missing(self, name: str) -> str:
        """Why there is no version of a model, for a message: whether it is configured, and the models that are."""
        names = sorted(config.name for config in self.configs())
        if name in names:
            return f"model {name!r} is configured, and its base path has no versions"
        return no_such("model", name, names)

    def hold(self, spec: ServedModel) -> ServedVersion:
        """The version that a request asks for, held until the end of its `with`.

        Raises:
            StatusError: NOT_FOUND for an unknown model or version, INVALID_ARGUMENT for an unknown label or no name.
        """
        version = self._find(spec)
        while not version.acquire():  # it was retired in this moment, so another one has taken its place
            version = self._find(spec)
        return version

    def _find(self, spec: ServedModel) -> ServedVersion:
        if not spec.name:
            raise invalid("ModelSpec has no name specified. The request needs the name of a model")
        model = self._models.get(spec.name)
        served = model.served if model is not None else ServedVersions()
        number = spec.version
        if spec.label is not None:
            if spec.label not in served.labels:
                labels = no_such(f"label of model {spec.name!r}", spec.label, sorted(served.labels))
                raise invalid(f"Unrecognized servable version label: {spec.label}. {labels}")
            number = served.labels[spec.label]
        if number is None:
            number = max(served.available, default=None)
        version = None if number is None else served.available.get(number)
        if version is None:
            wanted = f"Latest({spec.name})" if number is None else f"Specific({spec.name}, {number})"
            known = self.describe_missing(spec.name)
            if model is not None and not model.removed:
                known = f"available versions of {spec.name!r}: {one_of(map(str, sorted(served.available)))}"
            raise StatusError(Code.NOT_FOUND, f"Servable not found for request: {wanted}; {known}")
        return version

    def _unload_all(self) -> None:
        for model in self._models.values():
            model.unload_all()

    def _poll(self) -> None:
        while not self._ended.wait(self._poll_seconds):
            self.scan()

    def _check_labels(self, configs: Sequence[ModelConfig]) -> None:
        """Refuse a label of a version that is not available, unless it is new and such labels are allowed."""
        for config in configs:
            served = self.served(config.name)
            for label, number in config.labels.items():
                is_moved = served.labels.get(label, number) != number
                if number in served.available or (self._allow_unavailable_labels and not is_moved):
                    continue
                hint = (
                    f"label {label!r} stays at version {served.labels[label]} until version {number} is available"
                    if is_moved
                    else "load the version first, or start with --allow_version_labels_for_unavailable_models"
                )
                raise StatusError(
                    Code.FAILED_PRECONDITION,
                    f"Request to assign label to version {number} of model {config.name}, which is not currently "
                    f"available for inference; {hint}",
                )


def _left(until: float) -> float:
    return max(0.0, until - time.monotonic())
