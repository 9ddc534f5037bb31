"""What is served, where and how: what every kind of embedded server is made from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from attnexport.core.user_modules import ModuleFile, import_modules

from .serve_settings import Port, ServeSettings


@dataclass(frozen=True)
class ServePlan:
    """What is served, where and how; goes to child processes as it is.

    Attributes:
        export: As given to `serve`; None for what the settings name.
        port: gRPC port.
        rest_port: REST port.
        settings: TF Serving's flags.
        imports: Names of modules to import before models are loaded.
        modules: The same modules where they were found, in a child.
        trust: Whether SavedModels that do more than compute may run.
    """

    export: Path | None
    port: Port
    rest_port: Port | None
    settings: ServeSettings
    imports: tuple[str, ...] = ()
    modules: tuple[ModuleFile, ...] = ()
    trust: bool = False

    def for_child(self) -> Self:
        """The plan for a child process, which loads the modules that are found and imported here.

        Raises:
            ArgumentError: if there is no such module.
        """
        return replace(self, imports=(), modules=import_modules(self.imports))
