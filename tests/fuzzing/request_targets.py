"""Parsers of what comes over the network: requests, replies, and the files that configure a server."""

from __future__ import annotations

from .target import Target, of_file


def codec() -> Target:
    import numpy as np

    from attnexport.core import CodecError
    from attnexport.serving import codec

    model = codec.ServedModel("m", version=3)
    arrays = {"x": np.ones((2, 3), np.float32), "s": np.array([b"a", b"bc"], object), "i": np.arange(3)}
    seeds = [codec.encode_predict_request(model, arrays, ["y"], form) for form in ("content", "values")]
    seeds += [codec.encode_predict_reply(model, arrays, form) for form in ("content", "values")]
    seeds += [codec.encode_tensor(array, form) for array in arrays.values() for form in ("content", "values")]
    reads = (codec.decode_predict_request, codec.decode_predict_reply, codec.decode_tensor)
    return Target(seeds, reads, (CodecError,), "protobuf")


def rest() -> Target:
    from attnexport.core import Signature, TensorSpec
    from attnexport.serving.messages import ClassificationRequest
    from attnexport.serving.server import StatusError
    from attnexport.serving.server.rest_examples import fill_examples
    from attnexport.serving.server.rest_inputs import read_inputs
    from attnexport.serving.server.rest_json import parse

    dtypes = ("float32", "int64", "string", "bool", "uint8", "float16")
    specs = tuple(TensorSpec(f"in_{dtype}", dtype, None) for dtype in dtypes)
    many, one = Signature("m", specs, specs[:1]), Signature("o", specs[:1], specs[:1])
    seeds = [
        b'{"signature_name": "m", "inputs": [[1.0, 2e3], [NaN, -Infinity]]}',
        b'{"instances": [{"in_float32": 1, "in_int64": 2, "in_string": {"b64": "YQ=="}, "in_bool": true, '
        b'"in_uint8": 3, "in_float16": 1.5}]}',
        b'{"examples": [{"x": [1.0, 2.0], "s": "\\u00e4\\ud83d\\ude00", "t": {"b64": "YQ=="}}], "context": {"c": 1}}',
        '{"inputs": {"in_float32": 1, "in_int64": [2], "in_string": ["ünï"], "in_bool": true, "in_uint8": 3, '
        '"in_float16": 1.5}} rest'.encode(),
    ]
    reads = (
        parse,
        lambda data: read_inputs(parse(data), many),
        lambda data: read_inputs(parse(data), one),
        lambda data: fill_examples(parse(data), ClassificationRequest().input),
    )
    return Target(seeds, reads, (StatusError,), "text")


def examples() -> Target:
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    from attnexport.serving.messages import ClassificationRequest, MultiInferenceRequest
    from attnexport.serving.server import StatusError
    from attnexport.serving.server.examples import serialized_examples

    example = tf.train.Example()
    example.features.feature["x"].float_list.value.extend([1.0, 2.0])
    example.features.feature["s"].bytes_list.value.append(b"a")
    request, tasks = ClassificationRequest(), MultiInferenceRequest()
    request.model_spec.name = "m"
    request.input.example_list.examples.add().MergeFromString(example.SerializeToString())
    with_context = tasks.input.example_list_with_context
    with_context.examples.add().MergeFromString(example.SerializeToString())
    with_context.context.MergeFromString(example.SerializeToString())
    tasks.tasks.add(method_name="tensorflow/serving/classify").model_spec.name = "m"
    reads = tuple(
        lambda data, kind=kind: serialized_examples(kind.FromString(data).input)
        for kind in (ClassificationRequest, MultiInferenceRequest)
    )
    return Target(
        [request.SerializeToString(), tasks.SerializeToString()], reads, (DecodeError, StatusError), "protobuf"
    )


def replies() -> Target:
    from attnexport.core import Signature, TensorSpec
    from attnexport.core.errors import ServingError
    from attnexport.serving.client.responses import parse, read_classes, read_metadata, read_status, read_values
    from attnexport.serving.messages import (
        ClassificationResponse,
        GetModelMetadataResponse,
        GetModelStatusResponse,
        RegressionResponse,
        SignatureDefMap,
    )
    from attnexport.serving.server.loading import signature_definitions

    spec = TensorSpec("x", "float32", (None, 3))
    definitions = SignatureDefMap.FromString(signature_definitions({"s": Signature("s", (spec,), (spec,))}))
    metadata, status = GetModelMetadataResponse(), GetModelStatusResponse()
    classes, values = ClassificationResponse(), RegressionResponse()
    metadata.model_spec.name = "m"
    metadata.metadata["signature_def"].Pack(definitions)
    status.model_version_status.add(version=3, state=30).status.error_message = "why"
    classes.result.classifications.add().classes.add(label="a", score=1.0)
    values.result.regressions.add(value=1.0)
    reads = (
        lambda data: read_metadata(parse(GetModelMetadataResponse, data, "here"), "here"),
        lambda data: read_status(parse(GetModelStatusResponse, data, "here")),
        lambda data: read_classes(parse(ClassificationResponse, data, "here").result),
        lambda data: read_values(parse(RegressionResponse, data, "here").result),
    )
    seeds = [each.SerializeToString() for each in (metadata, status, classes, values)]
    return Target(seeds, reads, (ServingError,), "protobuf")


def config() -> Target:
    from attnexport.core import ContentError
    from attnexport.serving.messages import POOL, ModelServerConfig
    from attnexport.serving.server import StatusError
    from attnexport.serving.server.configuration import configs_from_message
    from attnexport.serving.server.text_config import BatchingParameters, SSLConfig, read_text

    seeds = [
        b"""model_config_list { config { name: 'm' base_path: '/m' model_platform: "tensorflow"
        model_version_policy { specific { versions: 1 versions: 2 } } version_labels { key: 'a' value: 1 } } } # c""",
        b"max_batch_size { value: 8 } batch_timeout_micros { value: 0 } allowed_batch_sizes: [2, 8]",
        b'server_key: "-----BEGIN\\n" server_cert: "a" client_verify: true',
    ]
    reads = (
        of_file(lambda path: configs_from_message(read_text(path, ModelServerConfig, POOL))),
        of_file(lambda path: read_text(path, BatchingParameters)),
        of_file(lambda path: read_text(path, SSLConfig)),
    )
    return Target(seeds, reads, (ContentError, StatusError), "text")
