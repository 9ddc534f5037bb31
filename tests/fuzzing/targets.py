"""Every parser of bytes from outside."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from . import file_targets, request_targets
from .target import Target


def targets() -> dict[str, Callable[[], Target]]:
    """The parsers by name, each made when it is needed."""
    return {
        "codec": request_targets.codec,
        "rest": request_targets.rest,
        "examples": request_targets.examples,
        "replies": request_targets.replies,
        "config": request_targets.config,
        "manifest": file_targets.manifest,
        "recipe": file_targets.recipe,
        "search": file_targets.search,
        "journal": file_targets.journal,
        "digest": file_targets.digest,
        "flatbuffer": file_targets.flatbuffer,
        "keras": file_targets.keras,
        "warmup": file_targets.warmup,
        "saved-model": file_targets.saved_model,
        "samples": file_targets.samples,
    }


def find(name: str) -> Callable[[], Target]:
    """The parser of that name, or that `module:function` makes."""
    module, _, function = name.partition(":")
    made: Callable[[], Target] = getattr(importlib.import_module(module), function) if function else targets()[name]
    return made
