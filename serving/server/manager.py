"""The models that are served: which there are, and which version a request gets."""

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

_FIRST_LOOKS = 20  # while a version seems to be written
_FIRST_WAIT = 0.25  # seconds between them


class ModelManager:
    """Keeps models as their configuration and the disk have them.

    Args:
        context: What versions are loaded with.
        poll_seconds: Between two looks at the base paths; 0 looks only when a configuration comes.
        allow_unavailable_labels: Whether a label may name a version that is not available.
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

        Raises:
            StatusError: FAILED_PRECONDITION where a label names a version that is not available; the models are
                served then, under the labels that they had.
        """
        wanted = {config.name: config for config in configs}
        with self._turn:
            models = dict(self._models)
            for name, model in models.items():
                model.removed = name not in wanted
            for name, config in wanted.items():
                model = models.setdefault(name, ManagedModel(config, self._context))
                if (model.config.base_path, model.config.artifact) != (config.base_path, config.artifact):
                    # Other versions, of the same numbers: the old ones serve until the new ones do.
                    models[name] = model = ManagedModel(config, self._context, model.served)
                model.config = config
            self._models = models
            for _ in range(_FIRST_LOOKS):
                self.look()
                if not any(model.unsettled for model in models.values()) or self._ended.wait(_FIRST_WAIT):
                    break
            self._label()

    def start_polling(self) -> None:
        """Look at the base paths from now on, until `stop`."""
        if self._poll_seconds > 0:
            self._poller = threading.Thread(target=self._poll, name="versions", daemon=True)
            self._poller.start()

    def stop(self, seconds: float) -> bool:
        """Unload everything, once the requests that hold it are done; what they still hold after that time stays.

        Returns:
            Whether nothing runs any more.
        """
        until = time.monotonic() + seconds
        self._ended.set()
        if self._poller is not None:
            self._poller.join(_left(until))
        loads = not self._turn.acquire(timeout=_left(until))
        if not loads:
            try:
                self._unload_all()
            finally:
                self._turn.release()
        unloading = list(self._context.unloading)
        for thread, _ in unloading:
            thread.join(_left(until))
        left = [version for thread, version in unloading if thread.is_alive()]
        for version in left:
            if version.is_running:  # else it is being freed
                which = f"model {version.name!r} version {version.number}"
                self._context.tell(f"{which} still runs a request, and is left to it")
        return not loads and not left

    def look(self) -> None:
        """Bring every model up to date with the disk, once."""
        with self._turn:
            for model in self._models.values():
                if self._ended.is_set():
                    break
                model.update()
            if self._ended.is_set():  # while a version was loaded, so that `stop` had no turn
                self._unload_all()

    def configs(self) -> list[ModelConfig]:
        """The models that are configured."""
        return [model.config for model in self._models.values() if not model.removed]

    def has_model(self, name: str) -> bool:
        """Whether there is, or was, a model of that name."""
        return name in self._models

    def served(self, name: str) -> ServedVersions:
        """What requests see of a model.

        Raises:
            StatusError: NOT_FOUND, with the names there are.
        """
        return self._model(name).served

    def statuses(self, name: str) -> list[VersionStatus]:
        """Of every version that is remembered, the newest first; also of a model that is no longer configured.

        Raises:
            StatusError: NOT_FOUND, with the names there are.
        """
        return self._model(name).statuses()

    def failure(self, name: str) -> VersionStatus | None:
        """Why a model has no version available: how the newest one failed; None where none did.

        Raises:
            StatusError: NOT_FOUND, with the names there are.
        """
        return self._model(name).failure()

    def hold(self, asked: ServedModel) -> ServedVersion:
        """The version that a request asks for, held until the end of its `with`.

        Raises:
            StatusError: NOT_FOUND for an unknown model or version, INVALID_ARGUMENT for an unknown label or no name.
        """
        version = self._find(asked)
        while not version.acquire():  # it was retired in this moment, so another one is in its place
            version = self._find(asked)
        return version

    def _model(self, name: str) -> ManagedModel:
        if not name:
            raise invalid("the request has no model_spec with the name of a model")
        found = self._models.get(name)
        if found is None:
            raise StatusError(Code.NOT_FOUND, no_such("model", name, sorted(each.name for each in self.configs())))
        return found

    def _find(self, asked: ServedModel) -> ServedVersion:
        model = self._models.get(asked.name) or self._model(asked.name)
        served, number = model.served, asked.version
        if asked.label is not None:
            if asked.label not in served.labels:
                raise invalid(no_such(f"label of model {asked.name!r}", asked.label, sorted(served.labels)))
            number = served.labels[asked.label]
        if number is None:
            number = max(served.available, default=None)
        if number is None or number not in served.available:
            which = "version" if number is None else f"version {number}"
            there = one_of(map(str, sorted(served.available)))
            raise StatusError(Code.NOT_FOUND, f"model {asked.name!r} has no {which} available; there is {there}")
        return served.available[number]

    def _unload_all(self) -> None:
        for model in self._models.values():
            model.unload_all()

    def _poll(self) -> None:
        while not self._ended.wait(self._poll_seconds):
            self.look()

    def _label(self) -> None:
        """Give all versions their labels, or none."""
        for name, model in self._models.items():
            served = model.served
            for label, number in model.config.labels.items():
                if number not in served.available and not self._allow_unavailable_labels and not model.removed:
                    raise StatusError(
                        Code.FAILED_PRECONDITION,
                        f"label {label!r} of model {name!r} names version {number}, which is not available; "
                        f"available is {one_of(map(str, sorted(served.available)))}",
                    )
        for model in self._models.values():
            model.label(model.config.labels)


def _left(until: float) -> float:
    return max(0.0, until - time.monotonic())
