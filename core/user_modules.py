"""Modules that the user named with `--import`, by name here and by file in child processes."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from .errors import ArgumentError, ModelError, first_line


@dataclass(frozen=True)
class ModuleFile:
    """Where an imported module is.

    Attributes:
        name: Its full name, `package.module`.
        path: Its file; None for a package without `__init__.py`.
        folders: Where its submodules are; empty if it is not a package.
    """

    name: str
    path: str | None
    folders: tuple[str, ...] = ()


def import_modules(names: Sequence[str]) -> tuple[ModuleFile, ...]:
    """Import modules for what they register.

    The environment comes first, then the working directory, which is appended to the path for this and for what the
    modules import themselves. A file beside a downloaded model can therefore never take the place of a module that is
    installed.

    Args:
        names: Names of modules, `package.module`.

    Returns:
        The modules with their packages, in the order in which `load_modules` takes them.

    Raises:
        ArgumentError: if there is no such module.
        ModelError: if a module fails while it is imported.

    Example:
        >>> [each.name for each in import_modules(["xml.dom"])]
        ['xml', 'xml.dom']
    """
    files: dict[str, ModuleFile] = {}
    for name in names:
        import_module(name)
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            module = sys.modules[".".join(parts[:end])]
            if (file := _file_of(module)) is not None:
                files[file.name] = file
    return tuple(files.values())


def import_module(name: str) -> ModuleType:
    """Import one module as `import_modules` does.

    Raises:
        ArgumentError: if there is no such module.
        ModelError: if it fails while it is imported.
    """
    _append_path(os.getcwd())
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ArgumentError(f"there is no module {name!r} in the environment or the working directory") from error
        raise ModelError(f"module {name!r} cannot be imported: {first_line(error)}") from error
    except (Exception, SystemExit) as error:  # a user's module may do anything
        raise ModelError(f"module {name!r} cannot be imported: {type(error).__name__}: {first_line(error)}") from error


def load_modules(files: Sequence[ModuleFile]) -> None:
    """Import modules from the files that `import_modules` found in another process.

    Raises:
        ModelError: if a module fails while it is imported.
    """
    for file in files:
        if file.name in sys.modules:
            continue
        if "." not in file.name:
            for folder in file.folders or (file.path or "",):
                _append_path(str(Path(folder).parent))  # for what the module imports itself
        try:
            _load(file)
        except (Exception, SystemExit) as error:
            raise ModelError(
                f"module {file.name!r} cannot be imported from {file.path}: {type(error).__name__}: {first_line(error)}"
            ) from error


def _load(file: ModuleFile) -> None:
    folders = list(file.folders)
    if file.path is None:
        spec = ModuleSpec(file.name, None, is_package=True)
        spec.submodule_search_locations = folders
    else:
        found = importlib.util.spec_from_file_location(
            file.name, file.path, submodule_search_locations=folders if folders else None
        )
        if found is None or found.loader is None:
            raise ImportError(f"{file.path} is not a Python module")
        spec = found
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.name] = module
    try:
        if spec.loader is not None:
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[file.name]
        raise
    package, _, name = file.name.rpartition(".")
    if package:
        setattr(sys.modules[package], name, module)


def _file_of(module: ModuleType) -> ModuleFile | None:
    """None for a module that is not a file, such as a builtin one: any process has it by its name."""
    spec = module.__spec__
    if spec is None or not (spec.has_location or spec.submodule_search_locations):
        return None
    folders = tuple(os.path.abspath(each) for each in spec.submodule_search_locations or ())
    path = os.path.abspath(spec.origin) if spec.has_location and spec.origin else None
    return ModuleFile(spec.name, path, folders)


def _append_path(folder: str) -> None:
    if folder not in sys.path:
        sys.path.append(folder)
