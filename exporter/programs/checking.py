"""Whether a SavedModel may be run: only one that this installation made, or that can do no more than compute."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tensorflow.python.framework import op_def_registry

from attnexport.core.errors import AttnexportError, ContentError, ModelError
from attnexport.core.reading import check_filled, is_regular
from attnexport.store.trust import is_trusting, made_here

from .graph import MetaGraphs, Program, Scope, node_of
from .operators import READ_TABLE, RESTORE, SAVE, is_allowed
from .origins import Origins
from .reading import read_saved_model

_MOST_NAMED = 5  # in a message
_SPLIT_GRAPH = "saved_model.cpb"  # in parts, for graphs of more than 2 GB; some of TensorFlow's loaders know it


def check_program(path: Path, tags: Sequence[str] = ("serve",)) -> Any:
    """Refuse a SavedModel that would do more than compute, before anything of it runs.

    Its graph and its functions may hold the operators of `operators.py`. Operators that save or restore variables pass
    where the loader alone runs them, and tables are read from the SavedModel's own assets only. One that this
    installation made passes whatever it holds, and so does every one under `trusting()`.

    Args:
        path: The SavedModel's directory.
        tags: Tags of the graph that will be loaded.

    Returns:
        The SavedModel message; None if there is none or it cannot be parsed, which loading explains.

    Raises:
        ModelError: naming the operators, or the file that is larger than what a graph needs.
    """
    saved_model = read_saved_model(path)
    if saved_model is None or is_trusting():
        return saved_model
    if (reasons := refusals(saved_model, path, tags)) and not made_here(path):
        more = f" and {len(reasons) - _MOST_NAMED} more" if len(reasons) > _MOST_NAMED else ""
        raise ModelError(
            f"{path} was not exported here, and running it would do more than compute: "
            f"{'; '.join(reasons[:_MOST_NAMED])}{more}. Give --trust if you trust whoever made it"
        )
    return saved_model


def does_more_than_compute(path: Path) -> bool:
    """Whether a SavedModel from elsewhere would be refused if it were like this one."""
    saved_model = read_saved_model(path)
    return saved_model is not None and bool(refusals(saved_model, path))


def refusals(saved_model: Any, path: Path, tags: Sequence[str] = ("serve",)) -> list[str]:
    """Why a SavedModel is more than a computation, a phrase each; empty if it is none.

    Args:
        saved_model: Its message.
        path: Its directory, for its assets.
        tags: Tags of the graph that will be loaded.
    """
    meta_graph = MetaGraphs(saved_model).find(tags)
    if meta_graph is None:  # which loading refuses
        return []
    try:
        program = Program(meta_graph)
    except AttnexportError as error:
        return [str(error)]
    return list(dict.fromkeys([*_operators(program), *_assets(program, path), *_files(path)]))


def _operators(program: Program) -> Iterator[str]:
    saver, tables = _Saver(program), _Tables(program)
    for scope in program.scopes:
        for node in scope.nodes.values():
            if is_allowed(node.op, node.attr):
                continue
            if node.op in SAVE or node.op in RESTORE:
                reason = saver.reason(scope, node)
            elif node.op in READ_TABLE:
                reason = tables.reason(scope, node)
            elif op_def_registry.get(node.op) is None:  # a function's name, or what nothing here can run
                continue
            else:
                reason = "is not known to be harmless"
            if reason:
                place = f"{node.name!r}{f' in {scope.name!r}' if scope.name else ''}"
                yield f"operator {node.op} ({place}) {reason}"


class _Saver:
    """Which nodes save or restore variables for the loader, and are run for nothing else."""

    def __init__(self, program: Program) -> None:
        definition = program.meta_graph.saver_def
        saves = program.reached([node_of(definition.save_tensor_name)])
        self._restores = program.reached([node_of(definition.restore_op_name)])
        self._runs = program.reached([*program.initializers, *program.endpoints])
        self._restore_functions = program.functions_of(self._restores)
        both = program.functions_of(saves | self._restores)
        others = (name for name in program.functions if name not in both)
        self._run_functions = program.functions_of(self._runs, [*others, *program.object_functions])
        filename = node_of(definition.filename_tensor_name)
        self._origins = Origins(program, lambda name: name == filename)

    def reason(self, scope: Scope, node: Any) -> str:
        """Why a node that saves or restores is refused; empty if it is not."""
        name, runs, restores = (
            (scope.name, self._run_functions, self._restore_functions)
            if scope.name
            else (node.name, self._runs, self._restores)
        )
        if name in runs:
            return "is run by more than the saver"
        if name not in restores:  # nothing runs it
            return ""
        if node.op in SAVE:
            return "writes while variables are restored"
        inputs = scope.inputs(node)
        if not inputs or not self._origins.is_from_loader(scope, inputs[0]):
            return "reads a file other than the SavedModel's variables"
        return ""


class _Tables:
    """Which nodes read a table from an asset."""

    def __init__(self, program: Program) -> None:
        self._runs = program.reached(program.endpoints)
        self._run_functions = program.functions_of(self._runs)
        self._origins = Origins(program, lambda name: name in program.assets)

    def reason(self, scope: Scope, node: Any) -> str:
        """Why a node that reads a table is refused; empty if it is not."""
        if (scope.name in self._run_functions) if scope.name else (node.name in self._runs):
            return "is run by a signature, in which the loader does not give the file"
        inputs = scope.inputs(node)
        if len(inputs) != 2 or not self._origins.is_from_loader(scope, inputs[1]):
            return "reads a file other than an asset of the SavedModel"
        return ""


def _assets(program: Program, path: Path) -> Iterator[str]:
    folder = path / "assets"
    inside = os.path.realpath(path)
    for name in dict.fromkeys(program.assets.values()):
        if "\0" in name:
            yield f"its asset {name!r} has no name of a file"
            continue
        target = os.path.realpath(folder / name)
        if os.path.isabs(name) or ".." in Path(name).parts or os.path.commonpath([inside, target]) != inside:
            yield f"its asset {name!r} is not inside it"


def _files(path: Path) -> Iterator[str]:
    """What may not be among its files, whether its graph names them or not: they are hashed, copied and opened."""
    if (path / _SPLIT_GRAPH).exists():
        yield f"it has a second graph, {_SPLIT_GRAPH}, which is not read here"
    for folder, _, names in os.walk(path):
        for each in (Path(folder, name) for name in names):
            name = each.relative_to(path).as_posix()
            if not is_regular(each):
                if each.exists():  # a link may lead to nothing, or to itself
                    yield f"its file {name!r} is not a regular one"
                continue
            try:
                check_filled(each)
            except ContentError as error:
                yield str(error)
