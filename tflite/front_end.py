"""What a model computes of its inputs before it takes their logarithm: a spectrogram, and its filter bank.

Quiet frequencies are a thousandth of loud ones and count as much behind the logarithm. One integer scale for both, be
it that of the sound, of its spectrum or of the filtered one, leaves nothing of the quiet ones.
"""

from __future__ import annotations

from .graph import WEIGHTED, Operator, Subgraph

_MOST_PRODUCTS = (
    2  # a transform written as a convolution, and a filter bank; behind more the logarithm is an activation
)
# What they give is as exact, in proportion, as what they take is in absolute terms.
_EXPONENTIAL = {"EXP", "LOGISTIC", "LOG_SOFTMAX", "SOFTMAX", "TANH"}


def front_end(subgraph: Subgraph) -> list[Operator]:
    """The operators up to a logarithm near the inputs, itself included, in their order; none without such a one."""
    found: set[int] = set()
    for each in subgraph.operators:
        if each.name == "LOG":
            found |= _before(subgraph, each)
    return [each for each in subgraph.operators if id(each) in found]


def _before(subgraph: Subgraph, log: Operator) -> set[int]:
    """The identities of the operators up to this one; empty if it is not near the inputs."""
    products = {id(log): 0}  # on the way from the logarithm, by operator
    pending = [log]
    while pending:
        operator = pending.pop()
        count = products[id(operator)] + _is_product(subgraph, operator)
        if count > _MOST_PRODUCTS or operator.calls:
            return set()
        for index in subgraph.activations(operator.inputs):
            producer = subgraph.producers.get(index)
            if producer is None or producer.name in _EXPONENTIAL or products.get(id(producer), -1) >= count:
                continue
            products[id(producer)] = count
            pending.append(producer)
    return set(products)


def _is_product(subgraph: Subgraph, operator: Operator) -> bool:
    return operator.name in WEIGHTED and any(each.dtype == "float32" for each in subgraph.weights(operator))
