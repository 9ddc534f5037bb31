"""TF Serving's messages without TensorFlow: a generated descriptor set in a private pool."""

from typing import TYPE_CHECKING

from attnexport.core.lazy import lazy_names

if TYPE_CHECKING:
    from .methods import METHODS, RemoteMethod
    from .pool import (
        POOL,
        ClassificationRequest,
        ClassificationResponse,
        Example,
        ExampleListWithContext,
        GetModelMetadataRequest,
        GetModelMetadataResponse,
        GetModelStatusRequest,
        GetModelStatusResponse,
        InferenceTask,
        ModelServerConfig,
        ModelSpec,
        MultiInferenceRequest,
        MultiInferenceResponse,
        PredictionLog,
        PredictRequest,
        PredictResponse,
        PrivatePool,
        RegressionRequest,
        RegressionResponse,
        ReloadConfigRequest,
        ReloadConfigResponse,
        SignatureDefMap,
        TensorProto,
        message,
    )

_HOMES = {
    "ClassificationRequest": "pool",
    "ClassificationResponse": "pool",
    "Example": "pool",
    "ExampleListWithContext": "pool",
    "GetModelMetadataRequest": "pool",
    "GetModelMetadataResponse": "pool",
    "GetModelStatusRequest": "pool",
    "GetModelStatusResponse": "pool",
    "InferenceTask": "pool",
    "METHODS": "methods",
    "ModelServerConfig": "pool",
    "ModelSpec": "pool",
    "MultiInferenceRequest": "pool",
    "MultiInferenceResponse": "pool",
    "POOL": "pool",
    "PredictRequest": "pool",
    "PredictResponse": "pool",
    "PredictionLog": "pool",
    "PrivatePool": "pool",
    "RegressionRequest": "pool",
    "RegressionResponse": "pool",
    "ReloadConfigRequest": "pool",
    "ReloadConfigResponse": "pool",
    "RemoteMethod": "methods",
    "SignatureDefMap": "pool",
    "TensorProto": "pool",
    "message": "pool",
}

__all__ = [
    "METHODS",
    "POOL",
    "ClassificationRequest",
    "ClassificationResponse",
    "Example",
    "ExampleListWithContext",
    "GetModelMetadataRequest",
    "GetModelMetadataResponse",
    "GetModelStatusRequest",
    "GetModelStatusResponse",
    "InferenceTask",
    "ModelServerConfig",
    "ModelSpec",
    "MultiInferenceRequest",
    "MultiInferenceResponse",
    "PredictRequest",
    "PredictResponse",
    "PredictionLog",
    "PrivatePool",
    "RegressionRequest",
    "RegressionResponse",
    "ReloadConfigRequest",
    "ReloadConfigResponse",
    "RemoteMethod",
    "SignatureDefMap",
    "TensorProto",
    "message",
]

if not TYPE_CHECKING:  # type checkers then report names that do not exist
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
