"""What to serve: an export, a base path, or a configuration file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attnexport.core.errors import ArgumentError, ContentError
from attnexport.serving.server import ModelConfig, StatusError
from attnexport.serving.server.log_once import RepeatFilter
from attnexport.store.kinds import is_export, is_saved_model
from attnexport.store.links import check_links
from attnexport.store.manifest import FILE_NAME

from .serve_settings import ServeSettings

if TYPE_CHECKING:
    from attnexport.serving.server import Server

Source = Callable[[], Sequence[ModelConfig]]


class Follower:
    """Keeps a server up to date with a source.

    Args:
        server: A running server.
        source: Its models.
        known: What the source gave when the server started.
        on_event: Called with the reason if an update fails, once for the same reason.
    """

    def __init__(
        self, server: Server, source: Source, known: Sequence[ModelConfig], on_event: Callable[[str], None]
    ) -> None:
        self._server, self._source, self._log = server, source, RepeatFilter(on_event)
        self._known: Sequence[ModelConfig] | None = known  # None while an update is in force only in part

    def follow(self, poll_seconds: float, ending: threading.Event) -> None:
        """Poll the source until the event is set; at 0 seconds or less, never."""
        while not ending.wait(poll_seconds if poll_seconds > 0 else None):
            self.look()

    def look(self) -> None:
        """Apply what the source gives, if it is not in force yet."""
        self._log.begin()
        try:
            configs = self._source()
        except Exception as error:  # whatever it is, the server goes on
            self._log.say(f"the configuration stays as it was: {error}")
            return
        if configs == self._known:
            return
        self._known = None
        try:
            self._server.manager.configure(configs)
        except StatusError as error:
            self._log.say(f"the configuration stays as it was: {error}")
            return
        self._known = configs


def model_source(export: str | Path | None, settings: ServeSettings) -> Source:
    """A function that gives the models to serve at present.

    Raises:
        ArgumentError: if nothing or more than one thing to serve is given, or it does not exist.
    """
    paths = {"model_base_path": settings.model_base_path, "model_config_file": settings.model_config_file}
    flags = [f"--{name}" for name, path in paths.items() if path]
    if export and flags:
        raise ArgumentError(f"EXPORT and {' and '.join(flags)} were given; give one of them")
    if not export and not flags:
        raise ArgumentError("nothing to serve was given; give EXPORT, --model_base_path or --model_config_file")
    if settings.model_config_file:  # as in TF Serving, whose image always gives --model_base_path
        return _from_file(Path(settings.model_config_file))
    if export:
        return _from_export(Path(export))
    from attnexport.serving.server.configuration import local_path

    return _from_base_path(Path(local_path(settings.model_base_path or "")), settings.model_name)


def _from_file(path: Path) -> Source:
    from attnexport.serving.messages import POOL, ModelServerConfig
    from attnexport.serving.server.configuration import configs_from_message
    from attnexport.serving.server.text_config import read_text

    def read() -> Sequence[ModelConfig]:
        try:
            return configs_from_message(read_text(path, ModelServerConfig, POOL))
        except StatusError as error:
            raise ContentError(f"{path}: tensorflow.serving.ModelServerConfig: {error}") from error

    read()
    return read


def _from_base_path(path: Path, name: str) -> Source:
    if not name:
        raise ArgumentError("--model_name is empty; give the name the model is served under")
    if not path.is_dir():
        raise ArgumentError(f"--model_base_path '{path}' is not a directory on this machine")
    if is_saved_model(path):
        raise ArgumentError(
            f"--model_base_path '{path}' is itself a SavedModel; give the directory of its versions{_above(path)}"
        )
    config = ModelConfig(name, path.absolute())
    return lambda: [config]


def _from_export(root: Path) -> Source:
    if not root.exists():
        raise ArgumentError(f"EXPORT {root} does not exist; give an export directory, a .keras or a .tflite file")
    if not root.is_dir():
        raise ArgumentError(f"EXPORT {root} is neither an export directory nor a .keras or .tflite file")
    exports = [root] if is_export(root) else sorted(each for each in root.iterdir() if is_export(each))
    if not exports:
        hint = ""
        if is_saved_model(root):
            hint = f"; serve a SavedModel by --model_base_path, the directory of its versions{_above(root)}"
        elif any(each.name.isdecimal() for each in root.iterdir()):
            hint = "; serve a base path by --model_base_path"
        raise ArgumentError(f"EXPORT {root} holds no export (no {FILE_NAME}){hint}")
    known: dict[Path, list[ModelConfig]] = {}

    def look() -> Sequence[ModelConfig]:
        for export in exports:
            models = _models_of(export.absolute())
            if is_export(export):  # checked last: an export that is away for a moment keeps its models
                known[export] = models
        return [config for export in exports for config in known.get(export, [])]

    return look


def _above(path: Path) -> str:
    """Where to find the base path: the parent directory, if the name is a version number."""
    return f", which is {path.absolute().parent}" if path.absolute().name.isdecimal() else ", each named by a number"


def _models_of(root: Path) -> list[ModelConfig]:
    """The SavedModel under the export's name, and each .tflite under its file's name.

    Raises:
        StorageError: if a link leads out of the export.
    """
    check_links(root)
    models = []
    if (root / "saved_model").is_dir():
        models.append(ModelConfig(root.name, root / "saved_model"))
    files = sorted({path.name for path in root.glob("tflite/*/*.tflite") if path.parent.name.isdecimal()})
    for name in files:
        models.append(ModelConfig(name.removesuffix(".tflite"), root / "tflite", artifact=name))
    return models
