"""The operators where columns of different units meet, which one integer scale would lose the smaller of."""

from __future__ import annotations

from .graph import Operator, Subgraph

_VALUE_PRESERVING = {"EXPAND_DIMS", "RESHAPE", "SQUEEZE", "TRANSPOSE"}
_BY_COLUMN = {"ADD", "DIV", "MUL", "SUB"}


def unit_operators(subgraph: Subgraph) -> list[Operator]:
    """What stays float because columns have units of their own.

    The concatenation of several tensors that gives an output (a detector's boxes in pixels beside its scores), and the
    arithmetic by columns on an input (the normalization of ages and incomes). The converter folds the latter's factors
    into the matrix behind it, which then takes the columns in their units, and stays float as well.
    """
    return [*_last_concatenations(subgraph), *_first_arithmetic(subgraph)]


def _last_concatenations(subgraph: Subgraph) -> list[Operator]:
    ends, found = set(subgraph.outputs), []
    for each in reversed(subgraph.operators):
        if not ends & {*each.outputs}:
            continue
        if each.name in _VALUE_PRESERVING:
            ends |= {*each.inputs}
        elif each.name == "CONCATENATION" and len(subgraph.activations(each.inputs)) > 1:
            found.append(each)
    return found


def _first_arithmetic(subgraph: Subgraph) -> list[Operator]:
    found, columns = [], set()
    for each in subgraph.operators:
        if each.name in _BY_COLUMN and {*each.inputs} & {*subgraph.inputs} and _has_columns(subgraph, each):
            found.append(each)
            columns |= {*each.outputs}
        elif each.name in _BY_COLUMN and columns & {*each.inputs}:
            columns |= {*each.outputs}
        elif each.name == "FULLY_CONNECTED" and each.inputs[0] in columns:
            found.append(each)
    return found


def _has_columns(subgraph: Subgraph, operator: Operator) -> bool:
    """Whether an operator has a constant of several numbers, and works on a table `[n, columns]`."""
    constants = [subgraph.tensors[index] for index in operator.inputs if subgraph.tensors[index].constant_bytes > 4]
    return any(each.dtype == "float32" for each in constants) and len(subgraph.tensors[operator.outputs[0]].shape) == 2
