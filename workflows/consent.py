"""What a new version may change only with the user's consent: a server that watches an export goes over to it alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnexport.core.errors import ArgumentError

if TYPE_CHECKING:
    from attnexport.exporter import ModelSource
    from attnexport.store import ExportDirectory


def check_same_model(directory: ExportDirectory, source: ModelSource) -> None:
    """Refuse a version whose clients would have to change.

    More signatures, more outputs and a size that was free change nothing for them.

    Raises:
        ArgumentError: naming the signature.
    """
    versions = directory.manifest().versions
    kept = versions[-1].artifact("saved_model") if versions else None
    for old in kept.signatures if kept else ():
        new = source.signatures.get(old.name)
        if new is None or not new.answers(old):
            raise ArgumentError(
                f"version {versions[-1].version} of {directory.root} has {old}, and this model "
                f"{'lacks that signature' if new is None else f'has {new}'}; a server that watches the directory would "
                "swap one for the other: give another --name, or --new-signature if that is meant"
            )


def check_named(directory: ExportDirectory, source: ModelSource) -> None:
    """Refuse a second version under a name that Keras gives to every model: it may be of another model.

    Raises:
        ArgumentError: unless it is the model of the last version, unchanged.
    """
    from attnexport.exporter.models.traits import has_generated_name

    origin, versions = source.origin, directory.manifest().versions
    if origin.source["kind"] != "object" or origin.name != directory.name or not versions:
        return
    kept = versions[-1].artifact("saved_model")
    if has_generated_name(origin.model) and (kept is None or kept.content_hash != source.content_hash):
        raise ArgumentError(
            f"{directory.root} has a model already, and {origin.name!r} is Keras's name for any model that was given "
            "none: pass name=..., another one, or the same with new_signature=True if this is a version of that model"
        )
