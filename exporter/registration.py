"""Registration of our layers with Keras as soon as Keras is imported, without importing it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_LAYERS = "attnexport.exporter.layers"


def register_with_keras() -> None:
    """Have Keras know our layers: now if it is imported already, otherwise once it is.

    `keras.saving.load_model` then finds them whatever was imported first, and Keras is not loaded for this.
    """
    if "keras" in sys.modules:
        import_module(_LAYERS)
    elif not any(isinstance(each, _KerasFinder) for each in sys.meta_path):
        sys.meta_path.insert(0, _KerasFinder())


class _KerasFinder(MetaPathFinder):
    """Finds Keras as the other finders do, and has our layers imported after it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "keras":
            return None
        others = (each for each in sys.meta_path if each is not self and hasattr(each, "find_spec"))
        spec = next((spec for each in others if (spec := each.find_spec(fullname, path, target))), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _KerasLoader(spec.loader)
        return spec


class _KerasLoader(Loader):
    """Loads Keras as its own loader does, which it hands back to the module, and then our layers."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        sys.meta_path[:] = [each for each in sys.meta_path if not isinstance(each, _KerasFinder)]
        import_module(_LAYERS)
