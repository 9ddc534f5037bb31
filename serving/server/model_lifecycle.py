"""One model and its versions: kept as its configuration and the disk have them, under running requests.

Requests read `served`, which is replaced whole, so they never wait for a version that is being loaded. What may happen
to a version stands in one table, `TRANSITIONS` in versions.py.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attnexport.core.errors import AttnexportError, StorageError, first_line

from .batch_checks import unbatched_tensors
from .batching import BatchingOptions
from .configuration import ModelConfig
from .loading import ModelLoader
from .log_once import RepeatFilter
from .memory import MODELS
from .version_scan import Fingerprint, fingerprint, is_settled, versions_on_disk
from .versions import Event, ServedVersion, State, VersionStatus

_MAX_ENDED = 50  # versions that are remembered after their end


@dataclass
class LoadContext:
    """What all models of a server are loaded with.

    Attributes:
        loader: Finds and loads versions.
        warm: Called with a loaded version before it becomes available. If it fails, the version fails.
        on_event: Called with a line of text when something happened to a version.
        batching: How requests are joined; None turns batching off.
        max_load_retries: How often the load of a version is tried again after a failure.
        retry_interval_seconds: The pause before each of these tries.
        unloading: The threads that wait for requests to release a version, each with its version.
        ended: Set when nothing more is to be loaded.
    """

    loader: ModelLoader
    warm: Callable[[ServedVersion], None]
    on_event: Callable[[str], None]
    batching: BatchingOptions | None = None
    max_load_retries: int = 0
    retry_interval_seconds: float = 60.0
    unloading: list[tuple[threading.Thread, ServedVersion]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class ServedVersions:
    """What requests see of a model: the available versions by number, and the numbers of the labels."""

    available: Mapping[int, ServedVersion] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)


class ManagedModel:
    """A model of the configuration. Its manager calls `update` from one thread at a time.

    Attributes:
        config: The configuration that is wanted.
        removed: Whether the configuration no longer names the model.
        served: What requests see. At first these are the versions of the model that this one replaces.
        unsettled: Whether a version was left out because its files still change.
    """

    def __init__(self, config: ModelConfig, context: LoadContext, served: ServedVersions | None = None) -> None:
        self.config, self._context = config, context
        self.removed = self.unsettled = False
        self.served = served or ServedVersions()
        self._versions: dict[int, ServedVersion] = {}
        self._lock = threading.Lock()  # of `_versions` and `_ended`, which unloading threads change, too
        self._ended: list[VersionStatus] = []
        self._fingerprints: dict[Path, Fingerprint] = {}  # of versions that may still be written
        self._unreadable: dict[int, StorageError] = {}
        self._log = RepeatFilter(lambda text: context.on_event(f"model {config.name!r}: {text}"))

    def statuses(self) -> list[VersionStatus]:
        """The status of every version that is remembered, the newest first."""
        live = [version.status for version in list(self._versions.values())]
        numbers = {status.version for status in live}
        ended = {status.version: status for status in list(self._ended) if status.version not in numbers}
        return sorted([*live, *ended.values()], key=lambda status: -status.version)

    def failure(self) -> VersionStatus | None:
        """How the newest version that is wanted failed, if none is available; else None."""
        versions = dict(self._versions)
        wanted = [versions[number].status for number in self.config.policy.choose(versions)]
        failed = [status for status in wanted if status.state is State.END and status.message]
        return failed[-1] if failed and not self.served.available else None

    def label(self, labels: Mapping[str, int]) -> None:
        """Give versions these labels and no others."""
        self.served = ServedVersions(self.served.available, dict(labels))

    def update(self) -> None:
        """Load the versions that are missing, then unload those that are not wanted; each failure is logged once."""
        self._log.begin()
        self.unsettled = False
        try:
            self._follow({} if self.removed else self._scan())
        except OSError as error:
            # A base path that is away for a moment is not an empty one: nothing is unloaded for it.
            self._log.say(f"versions stay as they are until the base path can be read: {first_line(error)}")
        except Exception as error:  # of any loader; the next scan comes all the same
            self._log.say(f"versions stay as they are, because scanning them failed: {_text(error)}")

    def _follow(self, paths: Mapping[int, Path]) -> None:
        wanted = self.config.policy.choose(paths)
        self._forget(paths, wanted)
        unsettled: dict[Path, Fingerprint] = {}
        for number in wanted:
            self._admit(number, paths[number], unsettled)
        self._fingerprints, self.unsettled = unsettled, bool(unsettled)
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
        """Give a version to no new request, and free it when the last one has released it."""
        version.advance(Event.RETIRE)
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

    def _scan(self) -> dict[int, Path]:
        """What is to be loaded, by version number; a version's directory itself if it cannot be read."""
        paths = {}
        self._unreadable = {}
        for number, directory in versions_on_disk(self.config.base_path, self._log.say).items():
            try:
                path = self._context.loader.find(directory, self.config.artifact)
            except FileNotFoundError:  # removed during the scan
                continue
            except OSError as error:
                path = directory
                self._unreadable[number] = StorageError(f"{directory} cannot be read: {first_line(error)}")
            if path is not None:
                paths[number] = path
        os.stat(self.config.base_path)  # a base path that was removed during the scan looks empty, too
        return paths

    def _forget(self, paths: Mapping[int, Path], wanted: Sequence[int]) -> None:
        """Drop unwanted versions that wait for a try, and failed ones whose files are gone: they may come again."""
        for number, version in list(self._versions.items()):
            state = version.status.state
            if state in (State.START, State.LOADING) and number not in wanted:
                version.advance(Event.CANCEL)
                self._end(version)
            elif state is State.END and paths.get(number) != version.path:
                self._end(version)

    def _admit(self, number: int, path: Path, unsettled: dict[Path, Fingerprint]) -> None:
        """Begin with a version that is new, or that failed and has changed since, unless its files still change."""
        version = self._versions.get(number)
        if version is not None and version.status.state is not State.END:
            return
        now = fingerprint(path)
        if version is not None and version.fingerprint == now:
            return
        if is_settled(now, self._fingerprints.get(path)):
            with self._lock:
                self._versions[number] = ServedVersion(self.config.name, number, path, now)
        else:
            unsettled[path] = now

    def _is_due(self, version: ServedVersion) -> bool:
        """Whether a version is to be loaded now: it is new, or its next try is due."""
        if self._context.ended.is_set():
            return False
        state = version.status.state
        return state is State.START or (state is State.LOADING and time.monotonic() >= version.retry_at)

    def _load(self, version: ServedVersion) -> None:
        context = self._context
        version.advance(Event.LOAD)
        begin = time.monotonic()
        try:
            if version.number in self._unreadable:
                raise self._unreadable[version.number]
            with MODELS.changing(version.file_bytes):
                version.attach(context.loader.load(version.path), context.batching)
                self._report_unbatched(version)
                context.warm(version)
        except Exception as error:  # of any library; the server goes on
            version.close()
            version.failures += 1
            retries = version.failures <= context.max_load_retries
            if retries:
                version.retry_at = time.monotonic() + context.retry_interval_seconds
            else:
                version.advance(Event.FAIL, error)
            then = f"; next try in {context.retry_interval_seconds:g} s" if retries else ""
            context.on_event(f"model {version.name!r} version {version.number} does not load: {_text(error)}{then}")
            return
        replaced = self.served.available.get(version.number)  # of another base path
        version.advance(Event.LOADED)
        self._show({**self.served.available, version.number: version})
        if replaced is not None:
            self.unload(replaced)
        context.on_event(
            f"model {version.name!r} version {version.number} is available, loaded in {time.monotonic() - begin:.1f} s"
        )

    def _report_unbatched(self, version: ServedVersion) -> None:
        """Log the signatures that cannot run in batches."""
        if version.batcher is None:
            return
        for name, signature in sorted(version.model.signatures.items()):
            if signature.inputs and (tensors := unbatched_tensors(signature)):
                self._context.on_event(
                    f"model {version.name!r} version {version.number}: signature {name!r} is never batched, its shapes "
                    f"have no free batch: {', '.join(tensors)}"
                )

    def _show(self, available: Mapping[int, ServedVersion]) -> None:
        self.served = ServedVersions(dict(available), self.served.labels)

    def _free(self, version: ServedVersion) -> None:
        version.drain()
        version.close()
        version.advance(Event.FREE)
        self._end(version)
        self._context.on_event(f"model {version.name!r} version {version.number} is unloaded")

    def _end(self, version: ServedVersion) -> None:
        """Keep the last status of a version, and nothing else of it."""
        with self._lock:
            ended = [status for status in self._ended if status.version != version.number]
            self._ended = [*ended, version.status][-_MAX_ENDED:]
            if self._versions.get(version.number) is version:
                del self._versions[version.number]


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, AttnexportError) else f"{type(error).__name__}: {first_line(error)}"
