"""One version of a model: the table of its life, and the requests that hold it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from pathlib import Path
from typing import Any

from attnexport.serving.messages import SignatureDefMap

from .batching import Batcher, BatchingOptions
from .loading import LoadedModel
from .memory import MODELS
from .pace import Pace
from .status import Code, StatusError, status_of
from .version_scan import Fingerprint


class State(IntEnum):
    """The states of tensorflow.serving.ModelVersionStatus, by their numbers on the wire."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


class Event(Enum):
    """What happens to a version."""

    LOAD = auto()  # a load begins: the first one, or another try after a failure
    LOADED = auto()  # the model is in memory and its warm-up records were replayed
    FAIL = auto()  # the last allowed try failed
    CANCEL = auto()  # the version is no longer wanted, and was never available
    RETIRE = auto()  # another version takes its place, or nobody wants it: no new request gets it
    FREE = auto()  # the last request has released it and its memory is freed


# The life of a version: every transition there is. A version that ended never comes back; the same number on disk again
# is a new ServedVersion.
TRANSITIONS: Mapping[tuple[State, Event], State] = {
    (State.START, Event.LOAD): State.LOADING,
    (State.START, Event.CANCEL): State.END,
    (State.LOADING, Event.LOAD): State.LOADING,
    (State.LOADING, Event.LOADED): State.AVAILABLE,
    (State.LOADING, Event.FAIL): State.END,
    (State.LOADING, Event.CANCEL): State.END,
    (State.AVAILABLE, Event.RETIRE): State.UNLOADING,
    (State.UNLOADING, Event.FREE): State.END,
}


@dataclass(frozen=True)
class VersionStatus:
    """The state of a version, with the code and message of the failure that ended it, if any."""

    version: int
    state: State
    code: Code = Code.OK
    message: str = ""

    def after(self, event: Event, error: BaseException | None = None) -> VersionStatus:
        """The status after an event, with the failure that caused it.

        Raises:
            ValueError: if the table of transitions has no such event in this state.

        Example:
            >>> VersionStatus(3, State.START).after(Event.LOAD)
            VersionStatus(version=3, state=<State.LOADING: 20>, code=<Code.OK: 0>, message='')
        """
        state = TRANSITIONS.get((self.state, event))
        if state is None:
            raise ValueError(f"version {self.version}: no transition from {self.state.name} on {event.name}")
        if error is None:
            return VersionStatus(self.version, state)
        code = getattr(error, "code", None)
        return VersionStatus(
            self.version, state, Code(code) if isinstance(code, int) else Code.UNKNOWN, str(status_of(error))
        )


class ServedVersion:
    """A version from the moment it is wanted until its end.

    A request that runs it holds it (`acquire`, then `release` or the end of a `with`). A retired version is freed when
    the last request has released it.

    Attributes:
        name: The name of the model.
        number: The number of the version.
        path: What is loaded: a directory or a file.
        fingerprint: What `path` looked like on disk when the version was found.
        status: The state now.
        pace: How quick its calls are.
    """

    def __init__(self, name: str, number: int, path: Path, fingerprint: Fingerprint) -> None:
        self.name, self.number, self.path, self.fingerprint = name, number, path, fingerprint
        self.status = VersionStatus(number, State.START)
        self.failures = 0
        self.retry_at = 0.0  # monotonic seconds
        self.batcher: Batcher | None = None
        self.pace = Pace(is_steady=False)
        self._model: LoadedModel | None = None
        self._definitions: Any = None
        self._holders = 0
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)

    @property
    def model(self) -> LoadedModel:
        """The loaded model; only for those who hold the version.

        Raises:
            StatusError: UNAVAILABLE if it is not loaded.
        """
        if self._model is None:
            raise StatusError(Code.UNAVAILABLE, f"version {self.number} of model {self.name!r} is not loaded")
        return self._model

    def definition(self, signature: str) -> Any:
        """The SignatureDef of a signature, as the artifact has it; only for those who hold the version."""
        if self._definitions is None:  # two threads may read them at once, and get the same
            self._definitions = SignatureDefMap.FromString(self.model.definitions)
        return self._definitions.signature_def[signature]

    @property
    def file_bytes(self) -> int:
        """The size of all that is loaded, on disk."""
        return sum(size for _, size, _ in self.fingerprint)

    @property
    def is_running(self) -> bool:
        """Whether a request still runs a retired version: it holds it, or waits in one of its batches."""
        return self._holders > 0 or self.batcher is not None

    def advance(self, event: Event, error: BaseException | None = None) -> None:
        """Take the transition that an event causes, with the failure behind it."""
        with self._lock:
            self.status = self.status.after(event, error)

    def attach(self, model: LoadedModel, batching: BatchingOptions | None) -> None:
        """Take a model that was just loaded, and start its batches."""
        self._model = model
        if batching is not None:
            self.batcher = Batcher(model, batching)
        self.pace = Pace(is_steady=model.is_steady and batching is None)

    def acquire(self) -> bool:
        """Hold the version, unless it is no longer available."""
        with self._lock:  # which costs a request less than the condition around it
            if self.status.state is not State.AVAILABLE:
                return False
            self._holders += 1
            return True

    def release(self) -> None:
        """Let go of the version."""
        with self._lock:
            self._holders -= 1
            if not self._holders and self.status.state is State.UNLOADING:
                self._changed.notify_all()

    def __enter__(self) -> ServedVersion:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def drain(self) -> None:
        """Wait until no request holds the version, which may be never."""
        with self._changed:
            self._changed.wait_for(lambda: not self._holders)

    def close(self) -> None:
        """Free the model."""
        if self.batcher is not None:
            self.batcher.close()
        self.batcher = None
        if self._model is not None:
            with MODELS.changing(self.file_bytes, is_freed=True):
                self._model.close()
        self._model = self._definitions = None
