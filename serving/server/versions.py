"""One version of a model: its state, as TF Serving counts them, and the requests that hold it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from .batching import Batcher, BatchingOptions
from .loading import LoadedModel
from .status import Code, StatusError, status_of
from .version_scan import Fingerprint


class State(IntEnum):
    """Of tensorflow.serving.ModelVersionStatus."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionStatus:
    """What is known of a version; code and message are those of the failure that ended it, if any."""

    version: int
    state: State
    code: Code = Code.OK
    message: str = ""


class ServedVersion:
    """A version from the moment that it is wanted until nobody remembers it.

    Whoever runs it holds it (`acquire`, then `release` or the end of a `with`): it is closed when it is retired and the
    last one let go.

    Attributes:
        name: Of its model.
        number: Of the version.
        path: Of what was loaded.
        seen: What that looked like on disk when it was.
    """

    def __init__(self, name: str, number: int, path: Path, seen: Fingerprint) -> None:
        self.name, self.number, self.path, self.seen = name, number, path, seen
        self.status = VersionStatus(number, State.START)
        self.failures = 0
        self.retry_at = 0.0  # monotonic seconds
        self.batcher: Batcher | None = None
        self._model: LoadedModel | None = None
        self._holders = 0
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)

    @property
    def model(self) -> LoadedModel:
        """The loaded model; only for those who hold the version.

        Raises:
            StatusError: where it is not loaded.
        """
        if self._model is None:
            raise StatusError(Code.UNAVAILABLE, f"version {self.number} of model {self.name!r} is not loaded")
        return self._model

    def opened(self, model: LoadedModel, batching: BatchingOptions | None) -> None:
        """Take a model that was just loaded."""
        self._model = model
        if batching is not None:
            self.batcher = Batcher(model, batching)

    def become(self, state: State, error: BaseException | None = None) -> None:
        """Enter a state, with the failure that led to it."""
        if error is None:
            self.status = VersionStatus(self.number, state)
        else:
            known = status_of(error)
            code = known.code if isinstance(error, StatusError) else Code.UNKNOWN
            self.status = VersionStatus(self.number, state, code, str(known))

    def acquire(self) -> bool:
        """Hold the version, unless it is no longer available."""
        with self._lock:  # which costs a request less than the condition around it
            if self.status.state is not State.AVAILABLE:
                return False
            self._holders += 1
            return True

    def release(self) -> None:
        """Let go of it."""
        with self._lock:
            self._holders -= 1
            if not self._holders and self.status.state is State.UNLOADING:
                self._changed.notify_all()

    def __enter__(self) -> ServedVersion:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    @property
    def is_running(self) -> bool:
        """Whether a request runs it still, of a version that is retired: it holds it, or was left in a batch."""
        return self._holders > 0 or self.batcher is not None

    def retire(self) -> None:
        """Nobody new may hold it from now on."""
        with self._changed:
            self.become(State.UNLOADING)

    def drain(self) -> None:
        """Wait until nobody holds it, which may be never."""
        with self._changed:
            self._changed.wait_for(lambda: not self._holders)

    def close(self) -> None:
        """Free the model."""
        if self.batcher is not None:
            self.batcher.close()
        self.batcher = None
        if self._model is not None:
            self._model.close()
        self._model = None
