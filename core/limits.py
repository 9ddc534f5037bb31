"""Bounds that several packages share."""

MAX_VERSION = 2**63 - 1  # TF Serving reads the name of a version's directory as an int64

PRECISIONS = ("float32", "float16", "bfloat16", "dynamic", "int8", "int16x8", "int4")  # the rows of parity's budgets
