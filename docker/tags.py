"""The images of TF Serving that are known to exist: Docker Hub has no tag for many versions of TensorFlow."""

from __future__ import annotations

import re

CHECKED = "August 2026"
TAGS = ("2.20.0", "2.19.1", "2.19.0", "2.18.0", "2.17.0", "2.16.1", "2.15.1")  # of tensorflow/serving, newest first


def choose_tag(tensorflow: str, wanted: str | None = None) -> tuple[str, tuple[str, ...]]:
    """The tag to build on, and what to know about it.

    TensorFlow reads what older versions wrote, so the newest image is taken. A newer TensorFlow's export loads too,
    unless it uses an operator that the image does not have.

    Args:
        tensorflow: The version of TensorFlow that wrote the export; empty if that is unknown.
        wanted: The tag that the user wants; None for the newest.

    Example:
        >>> choose_tag("2.19.0")
        ('2.20.0', ())
        >>> tag, [note] = choose_tag("2.21.0")
        >>> tag, note.partition(";")[0]
        ('2.20.0', 'TensorFlow 2.21.0 wrote this export and TF Serving 2.20.0 will read it')
    """
    tag, notes = wanted or TAGS[0], []
    if wanted is not None and _numbers(tag) and re.split("[-@]", tag)[0] not in TAGS:
        notes.append(
            f"tensorflow/serving:{tag} is not among the tags known in {CHECKED} ({', '.join(TAGS)}); check that it "
            "exists before you build"
        )
    if _numbers(tag) and _numbers(tensorflow)[:2] > _numbers(tag)[:2]:
        text = (
            f"TensorFlow {tensorflow} wrote this export and TF Serving {tag} will read it; it refuses a model with an "
            "operator that was added since then"
        )
        newest = f". {tag} was the newest image in {CHECKED}: pass --tf-serving-version if there is a newer one"
        notes.append(text if wanted else text + newest)
    return tag, tuple(notes)


def _numbers(version: str) -> tuple[int, ...]:
    """Major, minor and patch; empty for a tag such as `latest` or `nightly`, and for longer numbers."""
    match = re.match(r"(?>(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?)(?!\.?\d)", version)
    return tuple(int(each or 0) for each in match.groups()) if match else ()
