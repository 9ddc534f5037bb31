"""numpy to and from TensorProto, on the wire: what TensorFlow's own functions do, without TensorFlow or copies."""

from typing import TYPE_CHECKING

from attnexport.core.lazy import lazy_names

if TYPE_CHECKING:
    from .decode import SPLAT_LIMIT, decode_tensor
    from .encode import Form, encode_tensor
    from .predict import (
        decode_predict_reply,
        decode_predict_request,
        encode_predict_reply,
        encode_predict_request,
    )
    from .served_model import PredictAnswer, PredictCall, ServedModel

_HOMES = {
    "Form": "encode",
    "PredictAnswer": "served_model",
    "PredictCall": "served_model",
    "SPLAT_LIMIT": "decode",
    "ServedModel": "served_model",
    "decode_predict_reply": "predict",
    "decode_predict_request": "predict",
    "decode_tensor": "decode",
    "encode_predict_reply": "predict",
    "encode_predict_request": "predict",
    "encode_tensor": "encode",
}

__all__ = [
    "SPLAT_LIMIT",
    "Form",
    "PredictAnswer",
    "PredictCall",
    "ServedModel",
    "decode_predict_reply",
    "decode_predict_request",
    "decode_tensor",
    "encode_predict_reply",
    "encode_predict_request",
    "encode_tensor",
]

if not TYPE_CHECKING:  # type checkers then report names that do not exist
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
