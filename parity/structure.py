"""Whether an artifact has the signatures that it is said to have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from attnexport.core.signature import Signature, TensorSpec, format_shape


def differences(
    expected: Iterable[Signature], actual: Mapping[str, Signature], *, names_only: bool = False
) -> Iterator[tuple[str, str]]:
    """What is missing, added or other in an artifact's signatures: pairs of a signature's name and a sentence.

    Args:
        expected: The signatures that it should have.
        actual: Those that it has.
        names_only: Compare only their names, and those of inputs and outputs.

    Example:
        >>> x, y = TensorSpec("x", "float32", (None, 3)), TensorSpec("y", "float32", (None, 1))
        >>> fixed = TensorSpec("x", "float32", (1, 3))
        >>> list(differences([Signature("s", (x,), (y,))], {"s": Signature("s", (fixed,), (y,)), "t": None}))
        [('s', "input 'x' has shape [1, 3] instead of [?, 3]"), ('t', 'is not a signature that was exported')]
    """
    known = {each.name: each for each in expected}
    for name, signature in known.items():
        other = actual.get(name)
        if other is None:
            yield name, f"is missing; there is {', '.join(map(repr, actual)) or 'no signature'}"
            continue
        if signature.method != other.method and not names_only:
            yield name, f"has method {other.method!r} instead of {signature.method!r}"
        for kind, wanted, found in (
            ("input", signature.inputs, other.inputs),
            ("output", signature.outputs, other.outputs),
        ):
            yield from ((name, text) for text in _specs(kind, wanted, found, names_only))
    yield from ((name, "is not a signature that was exported") for name in actual if name not in known)


def _specs(kind: str, wanted: Iterable[TensorSpec], found: Iterable[TensorSpec], names_only: bool) -> Iterator[str]:
    others = {spec.name: spec for spec in found}
    for spec in wanted:
        other = others.pop(spec.name, None)
        if other is None:
            yield f"{kind} {spec.name!r} is missing"
        elif not names_only and other.dtype != spec.dtype:
            yield f"{kind} {spec.name!r} has dtype {other.dtype} instead of {spec.dtype}"
        elif not names_only and other.shape != spec.shape:
            yield f"{kind} {spec.name!r} has shape {format_shape(other.shape)} instead of {format_shape(spec.shape)}"
    yield from (f"{kind} {name!r} was not exported" for name in others)
