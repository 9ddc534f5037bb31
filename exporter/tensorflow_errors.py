"""What TensorFlow's and Keras's errors mean, without where in them they were raised."""

from __future__ import annotations

import re

from .operators import missing_operator

_LIMIT = 300  # characters

# A session begins with a trace of where the node was made and ends with the node; Keras ends with all arguments.
_HEAD = re.compile(r"\AGraph execution error:\s*(Detected at node.*?\nNode: [^\n]*\n)?", re.DOTALL)
_TAIL = re.compile(r"(\n\t \[\[|\n\s*Arguments received by ).*", re.DOTALL)
_BOLD = re.compile(r"\x1b\[\d*m")
# What the user's code said, after Keras's whole configuration of the layer.
_INNER = re.compile(r"\A.*Exception encountered: (?=.)", re.DOTALL)
# Keras lists every object that has no weights in the file, and says of one what was missing.
_OBJECTS = re.compile(r"\AA total of \d+ objects could not be loaded\. Example error message for object [^>]*>:\s*")
_LIST = re.compile(r"\s*List of objects that could not be loaded:.*", re.DOTALL)
_UNTRACKED = re.compile(r"untracked.*?Trackable referencing this tensor = <?([\w.]+)", re.DOTALL)


def reason(error: BaseException) -> str:
    """The sentences that say what was wrong, on one line; for an unregistered operator, who registers it."""
    text = str(getattr(error, "message", None) or error)
    if found := _UNTRACKED.search(text):
        kind = found[1].rpartition(".")[2]
        return f"a function uses a {kind} that nothing keeps; make it an attribute of a layer of the model"
    if "as_list() is not defined on an unknown TensorShape" in text:
        return "in a graph, a layer's output has no known rank; give it one with tf.ensure_shape in the layer's call"
    text = _LIST.sub("", _OBJECTS.sub("weights are missing: ", text))
    text = _TAIL.sub("", _INNER.sub("", _HEAD.sub("", _BOLD.sub("", text))))
    line = " ".join(text.split()) or type(error).__name__
    if help_text := missing_operator(line):
        return help_text
    return line if len(line) <= _LIMIT else line[: _LIMIT - 1] + "…"
