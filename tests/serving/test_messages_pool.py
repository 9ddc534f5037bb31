"""The classes of a private pool live as long as the pool: those that are freed crash the process."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

from google.protobuf.message_factory import GetMessageClass

import attnexport
from attnexport.serving.messages import POOL, PrivatePool, message
from attnexport.serving.server import text_config

SOURCES = Path(attnexport.__file__).parent


def private_pools() -> list[PrivatePool]:
    gc.unfreeze()  # A server that ran in this process froze what there was, and frozen objects are not listed.
    return [each for each in gc.get_objects() if isinstance(each, PrivatePool)]


def all_descriptors(pool: PrivatePool) -> list[Any]:
    """By another way than the pool's own: over the fields of the classes, to the last."""
    waiting = [each.DESCRIPTOR for each in pool.classes.values()]
    seen: dict[str, Any] = {}
    while waiting:
        descriptor = waiting.pop()
        if descriptor.full_name not in seen:
            seen[descriptor.full_name] = descriptor
            waiting += [field.message_type for field in descriptor.fields if field.message_type]
            waiting += descriptor.nested_types
    return list(seen.values())


def test_the_garbage_collector_frees_no_message_class_of_any_private_pool() -> None:
    pools = private_pools()
    assert {id(pool.descriptors) for pool in pools} >= {id(POOL), id(text_config.POOL)}
    for pool in pools:
        names = [each.full_name for each in all_descriptors(pool)]
        assert sorted(names) == sorted(pool.classes)
        classes = [weakref.ref(GetMessageClass(pool.descriptors.FindMessageTypeByName(name))) for name in names]
        gc.collect()
        assert [name for name, alive in zip(names, classes, strict=True) if alive() is None] == []
    assert "tensorflow.serving.PredictRequest.InputsEntry" in {name for pool in pools for name in pool.classes}


def test_the_messages_in_fields_are_of_the_held_classes() -> None:
    gc.collect()
    for pool in private_pools():
        for held in pool.classes.values():
            for field in held.DESCRIPTOR.fields:
                if not field.message_type:
                    continue
                value = getattr(held(), field.name)
                expected = pool.classes[field.message_type.full_name]
                if not field.is_repeated:
                    made = type(value)
                elif field.message_type.GetOptions().map_entry:
                    made = value.GetEntryClass()
                else:
                    made = type(value.add())
                assert made is expected, field.full_name


def test_input_of_multi_inference_is_the_class_that_message_gives() -> None:
    request = message("tensorflow.serving.MultiInferenceRequest")()
    assert type(request.input) is message("tensorflow.serving.Input")


def test_every_pool_is_made_by_the_one_constructor() -> None:
    made = [path for folder in SOURCES.iterdir() if folder.is_dir() for path in folder.rglob("*.py")]
    assert len(made) > 100
    users = {path.name for path in made if "DescriptorPool(" in path.read_text(encoding="utf-8")}
    assert users == {"pool.py"}
