"""What `attnexport serve` is to serve: an export, a base path, or a configuration file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attnexport.core.errors import ArgumentError
from attnexport.core.manifest import FILE_NAME
from attnexport.serving.server import ModelConfig, VersionPolicy

Source = Callable[[], Sequence[ModelConfig]]


def model_source(export: str | None, options: dict[str, Any]) -> Source:
    """What gives the models, each time anew.

    Raises:
        ArgumentError: where none or more than one was asked for, or it is not there.
    """
    given = [
        name
        for name, value in (
            ("EXPORT", export),
            ("--model_base_path", options["model_base_path"]),
            ("--model_config_file", options["model_config_file"]),
        )
        if value
    ]
    if len(given) != 1:
        told = f"{' and '.join(given)} were given" if given else "nothing to serve was given"
        raise ArgumentError(f"{told}; give EXPORT, --model_base_path or --model_config_file")
    if options["version"] is not None and not options["model_base_path"]:
        raise ArgumentError("--version goes with --model_base_path alone; a configuration file has version policies")
    if options["model_config_file"]:
        return _from_file(Path(options["model_config_file"]))
    if export:
        return _from_export(Path(export))
    return _from_base_path(Path(options["model_base_path"]), options["model_name"], options["version"])


def _from_file(path: Path) -> Source:
    from attnexport.core.errors import ContentError
    from attnexport.serving.messages import POOL, ModelServerConfig
    from attnexport.serving.server import StatusError
    from attnexport.serving.server.configuration import configs_from_message
    from attnexport.serving.server.parameters import read_text

    def read() -> Sequence[ModelConfig]:
        try:
            return configs_from_message(read_text(path, ModelServerConfig, POOL))
        except StatusError as error:
            raise ContentError(f"{path}: tensorflow.serving.ModelServerConfig: {error}") from error

    read()
    return read


def _from_base_path(path: Path, name: str, version: int | None) -> Source:
    if not path.is_dir():
        raise ArgumentError(f"--model_base_path {path} is no directory")
    policy = VersionPolicy() if version is None else VersionPolicy(specific=frozenset({version}))
    config = ModelConfig(name, path.absolute(), policy=policy)
    return lambda: [config]


def _from_export(root: Path) -> Source:
    if not root.is_dir():
        raise ArgumentError(f"EXPORT {root} does not exist; give an export directory, such as export/classifier")
    exports = [root] if _is_export(root) else sorted(each for each in root.iterdir() if _is_export(each))
    if not exports:
        hint = (
            "; serve a base path by --model_base_path" if any(each.name.isdecimal() for each in root.iterdir()) else ""
        )
        raise ArgumentError(f"EXPORT {root} holds no export (no {FILE_NAME}){hint}")
    return lambda: [config for export in exports for config in _models_of(export.absolute())]


def _is_export(path: Path) -> bool:
    return (path / FILE_NAME).is_file()


def _models_of(root: Path) -> list[ModelConfig]:
    """The SavedModel under the export's name, and each kind of .tflite under its file's."""
    found = []
    if (root / "saved_model").is_dir():
        found.append(ModelConfig(root.name, root / "saved_model"))
    files = sorted({path.name for path in root.glob("tflite/*/*.tflite") if path.parent.name.isdecimal()})
    for name in files:
        found.append(ModelConfig(name.removesuffix(".tflite"), root / "tflite", artifact=name))
    return found
