"""Signatures through JSON: in the manifest, and from the child process that runs a .tflite."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from attnexport.core import ContentError, Signature, TensorSpec

X, Y = TensorSpec("x", "float32", (None, 3)), TensorSpec("y", "float32", (None, 2))


def test_a_signature_comes_back_from_json_as_it_was() -> None:
    whole = Signature("s", (X, TensorSpec("z", "string", None)), (Y,), "classify")
    document = json.loads(json.dumps(asdict(whole)))
    assert Signature.from_json(document) == whole
    with pytest.raises(ContentError, match="it holds 'colour', which this attnexport does not know"):
        Signature.from_json({**document, "colour": "red"})
    with pytest.raises(ContentError, match=r"at inputs\[0\]: the field 'dtype' is missing"):
        Signature.from_json({**document, "inputs": [{"name": "x", "shape": [1]}]})
