"""What is built takes the top-level folders themselves.

The links to them in `src/attnexport` are for development alone: git writes text files where links are not made. An
editable install needs no copies, since `src` is on its path.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class TopLevelFolders(BuildHookInterface[Any]):
    """Puts each folder into the wheel as `attnexport/FOLDER`; one that is missing fails the build."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            build_data["force_include"].update({each: f"attnexport/{each}" for each in self.config["folders"]})
