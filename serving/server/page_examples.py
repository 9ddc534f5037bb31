"""A request for each signature that works as it stands: a warm-up record, or made-up values."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from attnexport.core.errors import AttnexportError
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays, Signature, TensorSpec
from attnexport.serving.codec import decode_tensor
from attnexport.serving.messages import PredictionLog

from .versions import ServedVersion

_MAX_VALUES = 4096  # of a request that is shown
_MAX_RECORDS = 200  # that are searched
_NO_JSON = ("float16", "bfloat16", "complex64", "complex128")
_known: WeakKeyDictionary[ServedVersion, Mapping[str, dict[str, Any] | None]] = WeakKeyDictionary()


def example_bodies(version: ServedVersion) -> Mapping[str, dict[str, Any] | None]:
    """The body of a REST request for each signature; None if it would be too large to show, or JSON cannot hold it."""
    bodies = _known.get(version)
    if bodies is None:
        bodies = _known[version] = _make(version.model.signatures, version.model.warmup_records())
    return bodies


def _make(signatures: Mapping[str, Signature], records: Iterator[bytes]) -> dict[str, dict[str, Any] | None]:
    bodies: dict[str, dict[str, Any] | None] = {}
    for name, body in _recorded(records):
        if name in signatures and name not in bodies:
            bodies[name] = {"signature_name": name, **body}
    default = signatures.get(DEFAULT_SIGNATURE)
    for name, signature in signatures.items():
        if name not in bodies:
            content = _made_up(signature) if signature.method == "predict" else _made_up_examples(default)
            bodies[name] = None if content is None else {"signature_name": name, **content}
        elif _count(bodies[name]) > _MAX_VALUES:
            bodies[name] = None
    return bodies


def _recorded(records: Iterator[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The content of each warm-up record by signature; nothing more after one that is damaged."""
    try:
        for _, record in zip(range(_MAX_RECORDS), records, strict=False):
            log = PredictionLog.FromString(record)
            kind = log.WhichOneof("log_type")
            if kind == "predict_log":
                request = log.predict_log.request
                inputs = {
                    name: decode_tensor(tensor.SerializeToString(), lenient=True)
                    for name, tensor in request.inputs.items()
                }
                yield request.model_spec.signature_name or DEFAULT_SIGNATURE, {"inputs": _values(inputs)}
            elif kind in ("classify_log", "regress_log"):
                request = getattr(log, kind).request
                examples = [_features(each) for each in request.input.example_list.examples[:1]]
                if examples:
                    yield request.model_spec.signature_name or DEFAULT_SIGNATURE, {"examples": examples}
    except (AttnexportError, ValueError):
        return


def _values(inputs: Arrays) -> dict[str, Any]:
    return {name: _short(array.tolist()) for name, array in inputs.items()}


def _short(value: Any) -> Any:
    """Numbers with four digits, text as it is, other bytes as REST has them."""
    if isinstance(value, list):
        return [_short(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    return value


def _features(example: Any) -> dict[str, Any]:
    features = {}
    for name, feature in sorted(example.features.feature.items()):
        kind = feature.WhichOneof("kind")
        features[name] = _short(list(getattr(feature, kind).value)) if kind else []
    return features


def _made_up(signature: Signature) -> dict[str, Any] | None:
    sizes = [_size(spec) for spec in signature.inputs]
    if sum(sizes) > _MAX_VALUES or any(spec.dtype in _NO_JSON for spec in signature.inputs):
        return None
    return {"inputs": {spec.name: _sample(spec) for spec in signature.inputs}}


def _made_up_examples(default: Signature | None) -> dict[str, Any] | None:
    """An example of the features that `classify` of this project reads: the inputs of `serving_default`."""
    if default is None or default.method != "predict" or sum(map(_size, default.inputs)) > _MAX_VALUES:
        return {"examples": [{}]}
    values = {spec.name: [_value(spec)] * _size(spec) for spec in default.inputs}
    return {"examples": [values]}


def _sample(spec: TensorSpec) -> Any:
    value = _value(spec)
    for size in reversed(spec.shape or ()):
        value = [value] * (1 if size is None else size)
    return value


def _value(spec: TensorSpec) -> Any:
    """A value that every vocabulary has."""
    return {"string": "", "bool": False}.get(spec.dtype, 0.0 if spec.is_float else 0)


def _size(spec: TensorSpec) -> int:
    size = 1
    for each in spec.shape or ():
        size *= each or 1
    return size


def _count(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_count, value.values()))
    return sum(map(_count, value)) if isinstance(value, list) else 1
