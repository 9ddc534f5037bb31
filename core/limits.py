"""Bounds that several packages share."""

MAX_VERSION = 2**63 - 1  # TF Serving reads the name of a version's directory as an int64
