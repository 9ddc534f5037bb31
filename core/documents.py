"""Dataclasses from the JSON objects that `dataclasses.asdict` made of them."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, TypeVar, cast

_Kind = TypeVar("_Kind")


def build(kind: type[_Kind], document: dict[str, Any], **parts: Any) -> _Kind:
    """The dataclass from its JSON object, with `parts` in the place of what JSON cannot hold.

    Raises:
        ValueError: for fields that are missing or unknown.
    """
    known = {each.name: each for each in fields(cast(Any, kind))}
    required = {name for name, each in known.items() if each.default is MISSING and each.default_factory is MISSING}
    if missing := sorted(required - document.keys()):
        raise ValueError(f"a {kind.__name__} lacks {', '.join(missing)}")
    if unknown := sorted(document.keys() - known.keys()):
        raise ValueError(f"a {kind.__name__} holds {', '.join(unknown)}, which this attnexport does not know")
    return kind(**{**document, **parts})
