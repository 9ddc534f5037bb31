"""What clients ask beside predictions: classes, values, metadata, states, configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from attnexport.core import ArgumentError, RefusedError, ServingError

X = np.arange(15, dtype="f").reshape(5, 3)


def test_classify_regress_and_multi_inference(server: Any, connect: Callable[..., Any]) -> None:
    client = connect(server.address)
    examples = [{"x": [1.0, 2.0], "name": "a", "ids": [1, 2]}, {"x": 4.0, "blob": b"\xff"}]
    classes = client.classify(examples, signature="classify")
    assert [(each.label, each.score) for each in classes[1]] == [("sum", 4.0), ("minus", -4.0)]
    sent = server.service.calls[-1][1].input.example_list.examples[0].features.feature
    assert list(sent["name"].bytes_list.value) == [b"a"]
    assert list(sent["ids"].int64_list.value) == [1, 2]
    values = client.regress(examples, signature="regress", context={"x": 10.0})
    assert (values.dtype, values.tolist()) == (np.float32, [13.0, 14.0])
    import tensorflow as tf

    serialized = tf.train.Example(
        features=tf.train.Features(feature={"x": tf.train.Feature(float_list=tf.train.FloatList(value=[7.0]))})
    ).SerializeToString()
    both = client.multi_inference([serialized], [("classify", "classify"), ("regress", "regress")])
    assert both[0][0][0].score == 7.0
    assert both[1].tolist() == [7.0]
    for bad, words in (
        ([], "at least one"),
        ({"x": 1.0}, "a list of dicts"),
        ([3], "example 0 is a int"),
        ([{"x": 1.0}, {"x": None}], "example 1, feature 'x' holds object"),
        ([{"x": 2**64 - 1}], "more than an int64"),
        ([b"\xff"], "example 0 is not a serialized tf.Example"),
    ):
        with pytest.raises(ArgumentError, match=words):
            client.classify(bad, signature="classify")
    with pytest.raises(ArgumentError, match="a task 'predict' is not 'classify' or 'regress'"):
        client.multi_inference(examples, [("predict", "x")])


def test_metadata_status_reload_and_readiness(server: Any, connect: Callable[..., Any]) -> None:
    client = connect(server.address)
    found = client.metadata()
    assert (found.model, found.version) == ("m", 3)
    assert sorted(found.signatures) == ["classify", "echo", "regress", "serving_default", "total", "two"]
    assert str(found.signatures["two"]) == "two(a: float32 [?, 2], b: int32 [?, 2]) -> (sum: float32 [?, 2])"
    assert str(found.signatures["echo"].inputs[0]) == "x: string [...]"
    assert found.signatures["classify"].method == "classify"
    states = client.status()
    assert [(each.version, each.state) for each in states] == [(3, "AVAILABLE"), (2, "AVAILABLE"), (1, "END")]
    assert states[2].error == "no graph"
    assert [each.version for each in client.status(version=2)] == [2]
    client.reload_config({"m": "/models/m"})
    config = server.service.calls[-1][1].config.model_config_list.config[0]
    assert (config.name, config.base_path, config.model_platform) == ("m", "/models/m", "tensorflow")
    client.reload_config('model_config_list { config { name: "n" base_path: "/n" } }')
    with pytest.raises(RefusedError, match="the configuration is empty"):
        client.reload_config({})
    with pytest.raises(ArgumentError, match=r"is not a tensorflow\.serving\.ModelServerConfig: 1:1"):
        client.reload_config("nonsense {")
    client.wait_until_ready()
    client.wait_until_ready(version=2)
    server.service.states = [(3, 50, "bad graph")]
    with pytest.raises(ServingError, match="version 3 failed to load: bad graph"):
        client.wait_until_ready()
    nameless = connect(server.address, model=None)
    nameless.wait_until_ready()
    with pytest.raises(ArgumentError, match="no model is named"):
        nameless.predict(X)
