"""The shipped definitions: those of tensorflow-serving-api, field by field, and TensorFlow stays out."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from google.protobuf import json_format, text_format
from tensorflow_serving.apis import predict_pb2

from attnexport.serving import messages
from attnexport.serving.messages import METHODS, POOL, message
from attnexport.serving.messages.generate import DATA, generate

RunPython = Callable[..., subprocess.CompletedProcess[str]]
STUBS = {
    "tensorflow.serving.PredictionService": "tensorflow_serving.apis.prediction_service_pb2",
    "tensorflow.serving.ModelService": "tensorflow_serving.apis.model_service_pb2",
}


BESIDE = """
import hashlib
from attnexport.serving.messages import PredictRequest as A
from tensorflow_serving.apis.predict_pb2 import PredictRequest as B
a = A(); a.model_spec.name = 'm'; a.inputs['x'].float_val.append(2.5)
b = B.FromString(a.SerializeToString())
assert b.model_spec.name == 'm' and list(b.inputs['x'].float_val) == [2.5]
assert A.FromString(b.SerializeToString()) == a
assert A.DESCRIPTOR.full_name == B.DESCRIPTOR.full_name and A is not B
from attnexport.serving.messages.generate import generate
print(hashlib.sha256(generate()).hexdigest())
"""


def test_they_live_before_tensorflow_and_are_generated_byte_for_byte(run_python: RunPython) -> None:
    """In another process, where ours come first; from the installed package, with another hash seed."""
    done = run_python(BESIDE, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert done.returncode == 0, done.stderr
    shipped = DATA.read_bytes()
    assert generate() == generate() == shipped
    assert done.stdout.strip() == hashlib.sha256(shipped).hexdigest()


def test_they_live_after_tensorflow() -> None:
    """In this process, where theirs are there: the pool is made once more."""
    spec = importlib.util.spec_from_file_location("made_later", DATA.with_name("pool.py"))
    assert spec is not None
    assert spec.loader is not None
    later = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(later)
    ours = later.PredictRequest()
    ours.model_spec.name = "m"
    ours.inputs["x"].float_val.append(2.5)
    other = predict_pb2.PredictRequest.FromString(ours.SerializeToString())
    assert list(other.inputs["x"].float_val) == [2.5]
    assert later.PredictRequest.FromString(other.SerializeToString()) == ours
    assert type(ours) is not type(other)


def theirs(name: str) -> Any:
    """A descriptor of the default pool, filled by tensorflow-serving-api."""
    from google.protobuf import descriptor_pool

    for module in STUBS.values():
        import_module(module)
    import_module("tensorflow_serving.apis.prediction_log_pb2")
    import_module("tensorflow_serving.config.model_server_config_pb2")
    return descriptor_pool.Default().FindMessageTypeByName(name)


def described(field: Any) -> tuple[Any, ...]:
    typed = field.message_type or field.enum_type
    oneof = field.containing_oneof.name if field.containing_oneof else None
    of = typed.full_name if typed else None
    return field.name, field.number, field.type, field.is_repeated, of, oneof, field.default_value, field.json_name


def test_every_message_that_is_named_has_the_fields_of_the_installed_package() -> None:
    """And every message that those hold, to the last."""
    classes = [getattr(messages, name) for name in messages.__all__]
    waiting = [each.DESCRIPTOR for each in classes if hasattr(each, "DESCRIPTOR")]
    assert len(waiting) > 20
    seen = set()
    while waiting:
        ours = waiting.pop()
        if ours.full_name in seen:
            continue
        seen.add(ours.full_name)
        other = theirs(ours.full_name)
        assert [described(field) for field in ours.fields] == [described(field) for field in other.fields]
        for field in ours.fields:
            if field.enum_type:
                values = [(value.name, value.number) for value in field.enum_type.values]
                their_field = other.fields_by_number[field.number]
                assert values == [(value.name, value.number) for value in their_field.enum_type.values]
            if field.message_type:
                waiting.append(field.message_type)
    assert len(seen) > 60


def test_the_methods_are_those_of_the_two_services() -> None:
    found = {}
    for service, module in STUBS.items():
        descriptor = import_module(module).DESCRIPTOR.services_by_name[service.rpartition(".")[2]]
        for method in descriptor.methods:
            found[method.name] = (
                f"/{service}/{method.name}",
                method.input_type.full_name,
                method.output_type.full_name,
            )
    ours = {
        name: (each.path, each.request.DESCRIPTOR.full_name, each.response.DESCRIPTOR.full_name)
        for name, each in METHODS.items()
    }
    assert ours == found
    assert len(found) == 7


def test_importing_the_package_loads_no_tensorflow(run_python: RunPython) -> None:
    code = (
        "import sys, attnexport.serving\n"
        "assert not {'numpy', 'grpc', 'google.protobuf'} & set(sys.modules)\n"
        "from attnexport.serving.messages import PredictRequest, METHODS\n"
        "from attnexport.serving.codec import decode_tensor, encode_predict_request\n"
        "assert not [name for name in sys.modules if name.startswith(('tensorflow', 'keras'))]\n"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_maps_any_text_and_json_work_in_the_private_pool() -> None:
    signatures = messages.SignatureDefMap()
    signatures.signature_def["serving_default"].method_name = "tensorflow/serving/predict"
    reply = messages.GetModelMetadataResponse()
    reply.metadata["signature_def"].Pack(signatures)
    again = messages.GetModelMetadataResponse.FromString(reply.SerializeToString())
    unpacked = messages.SignatureDefMap()
    assert again.metadata["signature_def"].Unpack(unpacked)
    assert unpacked == signatures
    text = 'model_config_list { config { name: "m" base_path: "/m" model_platform: "tensorflow" } }'
    config = text_format.Parse(text, messages.ModelServerConfig(), descriptor_pool=POOL)
    assert config.model_config_list.config[0].name == "m"
    assert "signatureDef" in json_format.MessageToJson(signatures, descriptor_pool=POOL)


def test_an_unknown_message_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        message("tensorflow.serving.NoSuchMessage")
