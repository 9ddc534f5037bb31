"""Signatures through JSON: in the manifest, and from the child process that runs a .tflite."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from attnexport.core import ContentError, Signature, TensorSpec
from attnexport.core.documents import convert

X, Y = TensorSpec("x", "float32", (None, 3)), TensorSpec("y", "float32", (None, 2))


def test_a_signature_comes_back_from_json_as_it_was() -> None:
    whole = Signature("s", (X, TensorSpec("z", "string", None)), (Y,), "classify")
    document = json.loads(json.dumps(asdict(whole)))
    assert convert(document, Signature, "the signature") == whole
    with pytest.raises(ContentError, match="it holds 'colour', which this attnexport does not know"):
        convert({**document, "colour": "red"}, Signature, "the signature")
    with pytest.raises(ContentError, match=r"at inputs\[0\]: the field 'dtype' is missing"):
        convert({**document, "inputs": [{"name": "x", "shape": [1]}]}, Signature, "the signature")
