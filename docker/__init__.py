"""Production on TF Serving: the files of an image, compose and Kubernetes, with values that fit a model."""

from typing import TYPE_CHECKING

from attnexport.core.lazy import lazy_names

if TYPE_CHECKING:
    from .deployment import Deployment, plan_deployment
    from .rendering import render

_HOMES = {
    "Deployment": "deployment",
    "plan_deployment": "deployment",
    "render": "rendering",
}

__all__ = ["Deployment", "plan_deployment", "render"]

if not TYPE_CHECKING:  # type checkers then report names that do not exist
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
