"""What a new version takes over from the last one, and what its clients will find changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attnexport.core.errors import ArgumentError

if TYPE_CHECKING:
    from attnexport.core import Signature
    from attnexport.exporter import ModelSource
    from attnexport.exporter.models import ModelOrigin
    from attnexport.store import ExportDirectory, VersionEntry

KEPT = ("input_names", "output_names", "labels")
"""What the manifest records of an export's arguments, and the next version takes over."""


def newest_entry(directory: ExportDirectory) -> VersionEntry | None:
    """The last version of an export; None if it has none."""
    versions = directory.manifest().versions
    return versions[-1] if versions else None


def open_like(
    previous: VersionEntry | None, origin: ModelOrigin, **options: Any
) -> tuple[ModelSource, dict[str, list[str]], list[str]]:
    """Open a model, with the names and labels of the last version unless others are given.

    Args:
        previous: The last version of the export.
        origin: The model.
        options: The options of `open_model`.

    Returns:
        The model; the names and labels that it has, given or taken over; and notes on what was taken over.
    """
    from attnexport.exporter import open_model

    given = {name: list(options[name]) for name in KEPT if options.get(name)}
    past = names_and_labels(previous) if previous is not None and origin.saved_model is None else {}
    taken = {name: value for name, value in past.items() if name not in given}
    if not taken or previous is None:
        return open_model(origin, **options), given, []
    try:
        source = open_model(origin, **{**options, **taken})
    except ArgumentError as error:
        note = f"names and labels of version {previous.version} were not taken over: {error}"
        return open_model(origin, **options), given, [note]
    what = " and ".join(name.replace("_", " ") for name in taken)
    note = f"{what} are those of version {previous.version}; --no-inherit forgets them"
    return source, {**given, **taken}, [note]


def differences(previous: VersionEntry, signatures: Sequence[Signature], labels: Sequence[str]) -> str | None:
    """What clients of the last version will find changed, as the end of a sentence; None if nothing is."""
    artifact = previous.artifact("saved_model")
    before = {each.name: each for each in artifact.signatures} if artifact else {}
    after = {each.name: each for each in signatures}
    changes = [f"signature {name!r} is gone" for name in before if name not in after]
    changes += [f"signature {name!r} is new" for name in after if name not in before]
    for name in before.keys() & after.keys():
        for what, old, new in (
            ("takes", before[name].inputs, after[name].inputs),
            ("gives", before[name].outputs, after[name].outputs),
        ):
            if sorted(map(str, old)) != sorted(map(str, new)):
                changes.append(f"{name} {what} {', '.join(map(str, new))} (it was {', '.join(map(str, old))})")
    old_labels = names_and_labels(previous).get("labels", [])
    if old_labels != list(labels):
        changes.append(f"labels are {_listed(labels)} (they were {_listed(old_labels)})")
    return "; ".join(changes) or None


def names_and_labels(entry: VersionEntry) -> dict[str, list[str]]:
    """The names and labels that a version was given."""
    source: Mapping[str, Any] = entry.source
    return {name: list(source[name]) for name in KEPT if source.get(name)}


def _listed(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:5])
    return "none" if not labels else shown if len(labels) <= 5 else f"{shown} and {len(labels) - 5} more"
