"""One model and its versions: kept as its configuration and the disk have them, under running requests.

Requests read `served`, which is replaced whole, so they never wait for a version that is being loaded.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from attnexport.core.errors import AttnexportError, StorageError, first_line

from .batching import BatchingOptions
from .configuration import ModelConfig
from .loading import ModelLoader
from .log_once import RepeatFilter
from .version_scan import Fingerprint, fingerprint, is_settled, versions_on_disk
from .versions import ServedVersion, State, VersionStatus

_MAX_ENDED = 50  # versions that are remembered after their end


@dataclass
class LoadContext:
    """What versions are loaded with.

    Attributes:
        loader: Finds and loads versions.
        warm: Called with a loaded version before it becomes available; its failure is the version's.
        tell: Told in words what happened.
        batching: How requests are joined; not at all where None.
        max_load_retries: How often a version that fails to load is tried again.
        retry_interval_seconds: The pause before each try.
        unloading: The threads that wait for versions to be let go, each with its version.
        ended: Set once nothing more is to be loaded.
    """

    loader: ModelLoader
    warm: Callable[[ServedVersion], None]
    tell: Callable[[str], None]
    batching: BatchingOptions | None = None
    max_load_retries: int = 0
    retry_interval_seconds: float = 60.0
    unloading: list[tuple[threading.Thread, ServedVersion]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class ServedVersions:
    """What requests see of a model: its available versions by number, and its labels."""

    available: Mapping[int, ServedVersion] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)


class ManagedModel:
    """A model of the configuration. Its manager calls `update` from one thread at a time.

    Attributes:
        config: As it is wanted.
        removed: Whether the configuration names it no longer.
        served: What requests see; at first the versions of a model that this one takes the place of.
        unsettled: Whether a version was left out because somebody seems to write it.
    """

    def __init__(self, config: ModelConfig, context: LoadContext, served: ServedVersions | None = None) -> None:
        self.config, self._context = config, context
        self.removed = self.unsettled = False
        self.served = served or ServedVersions()
        self._versions: dict[int, ServedVersion] = {}  # which unloading threads take versions from
        self._lock = threading.Lock()  # for changing it, and `_ended`
        self._ended: list[VersionStatus] = []
        self._looks: dict[Path, Fingerprint] = {}
        self._unreadable: dict[int, StorageError] = {}
        self._log = RepeatFilter(lambda text: context.tell(f"model {config.name!r}: {text}"))

    def statuses(self) -> list[VersionStatus]:
        """Of every version that is remembered, the newest first."""
        live = [version.status for version in list(self._versions.values())]
        numbers = {status.version for status in live}
        ended = {status.version: status for status in list(self._ended) if status.version not in numbers}
        return sorted([*live, *ended.values()], key=lambda status: -status.version)

    def failure(self) -> VersionStatus | None:
        """Why nothing is available: how the newest version that is wanted failed; None where none did."""
        versions = dict(self._versions)
        wanted = [versions[number].status for number in self.config.policy.choose(versions)]
        failed = [status for status in wanted if status.state is State.END and status.message]
        return failed[-1] if failed and not self.served.available else None

    def label(self, labels: Mapping[str, int]) -> None:
        """Give versions these labels and no others."""
        self.served = ServedVersions(self.served.available, dict(labels))

    def update(self) -> None:
        """Load what is wanted and not there, then unload what is there and not wanted; what fails is said once."""
        self._log.begin()
        self.unsettled = False
        try:
            self._follow({} if self.removed else self._whole())
        except OSError as error:
            # A base path that is away for a moment is not an empty one: nothing is unloaded for it.
            self._log.say(f"it stays as it is until its base path can be read: {first_line(error)}")
        except Exception as error:  # of whatever loader; the next look comes all the same
            self._log.say(f"it stays as it is, since a look at its versions failed: {_said(error)}")

    def _follow(self, found: Mapping[int, Path]) -> None:
        wanted = self.config.policy.choose(found)
        self._forget_failures(found)
        looks: dict[Path, Fingerprint] = {}
        for number in wanted:
            self._admit(number, found[number], looks)
        self._looks, self.unsettled = looks, bool(looks)
        for number in wanted:
            version = self._versions.get(number)
            if version is not None and self._is_due(version):
                self._load(version)
        kept = [each for number in wanted if (each := self._versions.get(number)) in self.served.available.values()]
        for version in list(self.served.available.values()):
            # The last available version stays until another one is, or none is wanted.
            if version not in kept and (kept or not wanted):
                self.unload(version)

    def unload(self, version: ServedVersion) -> None:
        """Take a version out of the requests' sight, and free it when the last one has let it go."""
        version.retire()
        self._show({number: each for number, each in self.served.available.items() if each is not version})
        thread = threading.Thread(target=self._free, args=(version,), name=f"unload-{version.number}", daemon=True)
        unloading = self._context.unloading
        unloading[:] = [each for each in unloading if each[0].is_alive()]
        thread.start()
        unloading.append((thread, version))

    def unload_all(self) -> None:
        """Unload every available version."""
        for version in list(self.served.available.values()):
            self.unload(version)

    def _whole(self) -> dict[int, Path]:
        """What is to be loaded, by the number of a version directory that holds it; itself where it cannot be read."""
        found = {}
        self._unreadable = {}
        for number, directory in versions_on_disk(self.config.base_path, self._log.say).items():
            try:
                path = self._context.loader.find(directory, self.config.artifact)
            except FileNotFoundError:  # taken away during the look
                continue
            except OSError as error:
                path = directory
                self._unreadable[number] = StorageError(f"{directory} cannot be read: {first_line(error)}")
            if path is not None:
                found[number] = path
        os.stat(self.config.base_path)  # what was taken away during the look holds nothing either
        return found

    def _forget_failures(self, found: Mapping[int, Path]) -> None:
        """A version that failed and is no longer there may come again."""
        for number, version in list(self._versions.items()):
            if version.status.state is State.END and found.get(number) != version.path:
                self._end(version)

    def _admit(self, number: int, path: Path, looks: dict[Path, Fingerprint]) -> None:
        """Begin with a version that is new, or that failed and has changed since, unless it is still written."""
        version = self._versions.get(number)
        if version is not None and version.status.state is not State.END:
            return
        seen = fingerprint(path)
        if version is not None and version.seen == seen:
            return
        if is_settled(seen, self._looks.get(path)):
            with self._lock:
                self._versions[number] = ServedVersion(self.config.name, number, path, seen)
        else:
            looks[path] = seen

    def _is_due(self, version: ServedVersion) -> bool:
        """Whether a version is to be loaded now: it is new, or waits for another try."""
        if self._context.ended.is_set():
            return False
        state = version.status.state
        return state is State.START or (state is State.LOADING and time.monotonic() >= version.retry_at)

    def _load(self, version: ServedVersion) -> None:
        context = self._context
        version.become(State.LOADING)
        begin = time.monotonic()
        try:
            if version.number in self._unreadable:
                raise self._unreadable[version.number]
            version.opened(context.loader.load(version.path), context.batching)
            context.warm(version)
        except Exception as error:  # of whatever library; the server goes on
            version.close()
            version.failures += 1
            again = version.failures <= context.max_load_retries
            if again:
                version.retry_at = time.monotonic() + context.retry_interval_seconds
            else:
                version.become(State.END, error)
            then = f"; tried again in {context.retry_interval_seconds:g} s" if again else ""
            context.tell(f"model {version.name!r} version {version.number} does not load: {_said(error)}{then}")
            return
        before = self.served.available.get(version.number)  # of another base path
        version.become(State.AVAILABLE)
        self._show({**self.served.available, version.number: version})
        if before is not None:
            self.unload(before)
        context.tell(
            f"model {version.name!r} version {version.number} is available, {time.monotonic() - begin:.1f} s after it "
            "was found"
        )

    def _show(self, available: Mapping[int, ServedVersion]) -> None:
        self.served = ServedVersions(dict(available), self.served.labels)

    def _free(self, version: ServedVersion) -> None:
        version.drain()
        version.close()
        version.become(State.END)
        self._end(version)
        self._context.tell(f"model {version.name!r} version {version.number} is unloaded")

    def _end(self, version: ServedVersion) -> None:
        """Remember how a version ended, and nothing else of it."""
        with self._lock:
            ended = [status for status in self._ended if status.version != version.number]
            self._ended = [*ended, version.status][-_MAX_ENDED:]
            if self._versions.get(version.number) is version:
                del self._versions[version.number]


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, AttnexportError) else f"{type(error).__name__}: {first_line(error)}"
