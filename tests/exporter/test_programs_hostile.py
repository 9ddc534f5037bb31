"""What a SavedModel from elsewhere is refused for: every way that was thought of to do more than compute."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from attnexport.core import ModelError
from attnexport.exporter.programs import check_program
from attnexport.exporter.programs.checking import refusals
from attnexport.exporter.saved_model import copy_saved_model
from attnexport.store.trust import trusting
from tests.exporter.programs import TABLE, fill, function, node, program, text

HOSTILE = {
    "an initializer writes": (
        program(text("f", "/tmp/f"), text("c", "text"), node("evil", "WriteFile", "f", "c"), main="evil"),
        r"operator WriteFile \('evil'\) is not known to be harmless",
    ),
    "nothing runs it": (program(node("evil", "ReadFile", "prefix")), "ReadFile"),
    "a cache of a data set": (program(node("evil", "CacheDatasetV2", "x", "prefix", "x")), "CacheDatasetV2"),
    "a constant of a file": (program(node("evil", "ImmutableConst", memory_region_name=b"/etc")), "ImmutableConst"),
    "Python": (program(node("evil", "PyFunc", token=b"pyfunc_0")), "PyFunc"),
    "printing into a file": (program(node("evil", "PrintV2", "f", output_stream=b"file:///tmp/f")), "PrintV2"),
    "in a function": (program(functions=[function("f", node("evil", "SqlDataset"))]), r"SqlDataset \('evil' in 'f'\)"),
    "a function with the name of an operator": (
        program(node("evil", "ReadFile", "prefix"), functions=[function("ReadFile", node("z", "NoOp"))]),
        "ReadFile",
    ),
    "in a function that an attribute of an attribute names": (
        program(
            functions=[function("f", node("g", "While", body="h")), function("h", node("evil", "DebugIdentityV3"))]
        ),
        "DebugIdentityV3",
    ),
    "saved by a signature": (program(node("y", "Identity", "x", "^save")), "SaveV2.*is run by more than the saver"),
    "saved by an initializer": (program(main="save"), "SaveV2 .* is run by more than the saver"),
    "saved while restoring": (program(node("restore", "NoOp", "^save")), "writes while variables are restored"),
    "restored by a signature": (program(node("y", "Identity", "read")), "RestoreV2 .* is run by more than the saver"),
    "restored from elsewhere": (
        program(text("other", "/home/user/model"), node("read", "RestoreV2", "other", "names", "slices")),
        "RestoreV2 .* reads a file other than the SavedModel's variables",
    ),
    "restored from a place that is computed": (
        program(
            node("join", "StringJoin", "prefix", "names"), node("read", "RestoreV2", "join", "names", "slices"),
        ),
        "RestoreV2 .* reads a file other than",
    ),
    "saved in a function of the restore operator": (
        program(
            node("read", "PartitionedCall", "prefix", f="r"),
            functions=[function("r", node("evil", "MergeV2Checkpoints", "p", "p"), arguments=["p"])],
        ),
        r"MergeV2Checkpoints \('evil' in 'r'\) writes while",
    ),
    "restored in a function that the eager loader calls, too": (
        program(
            node("y", "PartitionedCall", "x", f="r"),
            node("read", "PartitionedCall", "prefix", f="r"),
            functions=[function("r", node("evil", "RestoreV2", "p", "p", "p"), arguments=["p"])],
        ),
        "RestoreV2 .* is run by more than the saver",
    ),
    "saved in a function that nothing calls": (program(functions=[function("f", node("evil", "SaveV2"))]), "SaveV2"),
    "a table of any file": (
        program(TABLE, text("f", "/etc/passwd"), fill("init", "f"), main="init"),
        "InitializeTableFromTextFileV2 .* reads a file other than an asset",
    ),
    "a table of a file beside an asset": (
        program(
            TABLE, text("f", "a"), text("up", "/../../x"), node("join", "StringJoin", "f", "up"), fill("init", "join"),
            main="init", assets={"f": "a"},
        ),
        "reads a file other than an asset",
    ),
    "a table that a signature fills": (
        program(TABLE, text("f", "/etc/passwd"), fill("init", "f"), node("y", "Identity", "^init"), assets={"f": "a"}),
        "is run by a signature, in which the loader does not give the file",
    ),
    "an asset outside": (program(text("f", "a"), assets={"f": "../../../etc/passwd"}), "asset .* is not inside it"),
    "an asset by an absolute path": (program(text("f", "a"), assets={"f": "/etc/passwd"}), "asset .* is not inside it"),
    "two nodes of one name": (program(node("a", "NoOp"), node("a", "WriteFile")), "two parts .* are called 'a'"),
}  # fmt: skip


def variable(*more: Any, functions: Sequence[Any] = ()) -> Any:
    """A table that is read from the path in a variable, as TensorFlow 2 saves it."""
    return program(
        TABLE,
        text("f", "a"),
        node("v", "VarHandleOp", shared_name=b"v"),
        node("assign", "AssignVariableOp", "v", "f"),
        node("path", "ReadVariableOp", "v", "^assign"),
        fill("init", "path"),
        *more,
        functions=functions,
        main="init",
        assets={"f": "a"},
    )


EVIL = text("evil", "/etc/passwd")
HOSTILE["an unfed path in a variable"] = (
    variable(EVIL, node("again", "AssignVariableOp", "v", "evil")),
    "reads a file other than an asset",
)
HOSTILE["a second handle of the variable"] = (
    variable(EVIL, node("w", "VarHandleOp", shared_name=b"v"), node("again", "AssignVariableOp", "w", "evil")),
    "reads a file other than an asset",
)
HOSTILE["a handle in a function"] = (
    variable(functions=[function("f", node("w", "VarHandleOp", shared_name=b"v"))]),
    "reads a file other than an asset",
)
HOSTILE["a variable that a function may change"] = (
    variable(node("call", "PartitionedCall", "v", f="g"), functions=[function("g", arguments=["handle"])]),
    "reads a file other than an asset",
)


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_would_do_more_is_named(kind: str, tmp_path: Path) -> None:
    message, reason = HOSTILE[kind]
    (tmp_path / "saved_model.pb").write_bytes(message.SerializeToString())
    with pytest.raises(ModelError, match=reason) as caught:
        check_program(tmp_path)
    assert str(caught.value).startswith(
        f"{tmp_path} was not exported here, and running it would do more than compute: "
    )
    assert str(caught.value).endswith("Give trust=True if you trust whoever made it")


def test_a_table_from_a_path_in_a_variable_passes(tmp_path: Path) -> None:
    assert refusals(variable(), tmp_path) == []
    assert refusals(program(), tmp_path) == []


def test_the_eager_loader_must_hand_over_an_asset_too(tmp_path: Path) -> None:
    """It binds what a function captured by the object graph, not by the graph that a session runs."""
    table = fill("init", "f")
    del table.input[0]
    message = program(
        TABLE,
        text("f", "a"),
        node("call", "PartitionedCall", "f", f="initialize"),
        functions=[function("initialize", node("init", "InitializeTableFromTextFileV2", "f", "f"), arguments=["f"])],
        main="call",
        assets={"f": "a"},
    )
    objects = message.meta_graphs[0].object_graph_def
    objects.nodes.add().asset.asset_file_def_index = 0
    objects.nodes.add().constant.operation = "evil"
    assert refusals(message, tmp_path) == []
    objects.concrete_functions["initialize"].bound_inputs.append(0)
    assert refusals(message, tmp_path) == []
    objects.concrete_functions["initialize"].bound_inputs[0] = 1
    [reason] = refusals(message, tmp_path)
    assert "reads a file other than an asset" in reason


def test_an_asset_is_a_file_of_the_saved_model(tmp_path: Path) -> None:
    message = program(text("f", "a"), assets={"f": "a"})
    (tmp_path / "assets").mkdir()
    asset = tmp_path / "assets" / "a"
    asset.write_text("word")
    assert refusals(message, tmp_path) == []
    asset.unlink()
    asset.symlink_to("/etc/passwd")
    assert refusals(message, tmp_path) == ["its asset 'a' is not inside it"]
    asset.unlink()
    os.mkfifo(asset)
    assert refusals(message, tmp_path) == ["its file 'assets/a' is not a regular one"]
    assert refusals(program(assets={"f": "a\0b"}), tmp_path)[0] == "its asset 'a\\x00b' has no name of a file"
    asset.unlink()
    with asset.open("wb") as file:
        file.truncate(1 << 40)
    assert "a file with holes is not read" in refusals(message, tmp_path)[0]


def test_no_file_is_a_pipe_or_one_with_holes_or_another_graph(tmp_path: Path) -> None:
    message = program()
    (tmp_path / "variables").mkdir()
    more = tmp_path / "variables" / "more"
    os.mkfifo(more)
    assert refusals(message, tmp_path) == ["its file 'variables/more' is not a regular one"]
    more.unlink()
    with more.open("wb") as file:
        file.truncate(1 << 40)
    assert "a file with holes is not read" in refusals(message, tmp_path)[0]
    more.unlink()
    (tmp_path / "saved_model.cpb").write_bytes(b"")
    assert refusals(message, tmp_path) == ["it has a second graph, saved_model.cpb, which is not read here"]


def test_text_that_nests_too_deeply_is_refused_wherever_the_stack_would_have_held_it(tmp_path: Path) -> None:
    opened, closed = "func { attr { key: 'k' value { " * 400, "} } } " * 400
    (tmp_path / "saved_model.pbtxt").write_text(
        f"meta_graphs {{ graph_def {{ node {{ attr {{ key: 'k' value {{ {opened} {closed} }} }} }} }} }}"
    )
    with pytest.raises(ModelError, match="nested too deeply"):
        check_program(tmp_path)


def test_a_copy_holds_no_file_that_a_link_leads_to_elsewhere(tmp_path: Path) -> None:
    saved_model = tmp_path / "model"
    (saved_model / "assets.extra").mkdir(parents=True)
    (saved_model / "inner").write_text("own")
    (saved_model / "inside").symlink_to("inner")
    copy_saved_model(saved_model, tmp_path / "first")
    assert (tmp_path / "first" / "inside").read_text() == "own"
    (tmp_path / "id_rsa").write_text("PRIVATE KEY")
    (saved_model / "assets.extra" / "vocabulary.txt").symlink_to("../../id_rsa")
    with pytest.raises(ModelError, match=r"leads out of the SavedModel, to .*id_rsa.*trust=True"):
        copy_saved_model(saved_model, tmp_path / "second")
    assert not (tmp_path / "second").exists()
    with trusting():
        copy_saved_model(saved_model, tmp_path / "third")
