"""The blocking client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from attnexport.core.signature import DEFAULT_SIGNATURE, Array

from .examples import Examples, Features
from .inputs import Inputs
from .operations import InferenceResult
from .options import ClientOptions, Compression, Retry, Tls, check_addresses
from .predict import OnBatch
from .responses import ClassScore, ModelMetadata, Prediction, VersionStatus
from .run_blocking import Session
from .transport import Transport


class Client:
    """A client of TF Serving, for any number of threads.

    Args:
        addresses: `HOST:PORT` of a server, or of several that serve the same models: they take turns, and one that
            fails is skipped.
        model: Model of calls that do not name one.
        timeout: Seconds that a call may take, with its retries.
        connect_timeout: Seconds after which a connection that is not made counts as refused.
        retry: What happens when no server answers.
        tls: Certificates; a plain connection if None.
        metadata: Headers of every call.
        compression: Compression of requests and replies: `gzip`, `deflate` or None.
        keepalive: Seconds of silence after which a connection is probed. By default servers refuse clients that send
            more than one probe in 5 minutes.
        check: Compare inputs with the server's signature before they are sent.
        max_batch: The most samples in one call; larger inputs are sent in parts, if the signature's first dimension
            is a batch: free in every input and output. Others are sent whole.
        max_concurrent: The most parts in progress at once.
        transport: What carries the calls, in place of gRPC and its options: a `MockTransport` in tests, or your own.

    Raises:
        ArgumentError: for an address or option that cannot work.
        ContentError: if certificates cannot be read.

    Example:
        >>> import numpy as np
        >>> from attnexport.serving import Client, MockTransport
        >>> double = MockTransport(lambda request: {"y": 2 * request.inputs["x"]})
        >>> with Client("127.0.0.1:8500", model="double", transport=double) as client:
        ...     client.predict({"x": np.array([1.0, 2.5])})["y"].tolist()
        [2.0, 5.0]
    """

    def __init__(
        self,
        addresses: str | Sequence[str],
        *,
        model: str | None = None,
        timeout: float = 30.0,
        connect_timeout: float = 5.0,
        retry: Retry = Retry(),  # noqa: B008 - frozen
        tls: Tls | None = None,
        metadata: Mapping[str, str | bytes] | None = None,
        compression: Compression | None = None,
        keepalive: float = 300.0,
        check: bool = False,
        max_batch: int | None = None,
        max_concurrent: int = 4,
        transport: Transport | None = None,
    ) -> None:
        self.addresses = check_addresses(addresses)
        self.options = ClientOptions(
            model, timeout, connect_timeout, retry, tls, metadata or {}, compression, keepalive, check, max_batch,
            max_concurrent,
        )  # fmt: skip
        self._session = Session(self.addresses, self.options, transport)

    def predict(
        self,
        inputs: Inputs,
        *,
        model: str | None = None,
        signature: str = DEFAULT_SIGNATURE,
        version: int | None = None,
        label: str | None = None,
        outputs: Sequence[str] = (),
        timeout: float | None = None,
        max_batch: int | None = None,
        check: bool | None = None,
        on_batch: OnBatch | None = None,
    ) -> Prediction:
        """Run a signature.

        Args:
            inputs: Arrays `[n, ...]` by input name, sent in the dtype that they have; lists, numbers, and int64 that
                fits, take the signature's. Anything but a dict is the single input of the signature.
            model: The model; the client's own if None.
            signature: The signature.
            version: The version; the newest if None.
            label: The version that has this label.
            outputs: The outputs to return; all if empty.
            timeout: Seconds that all of it may take; the client's if None.
            max_batch: The most samples in one call: see `Client`, whose own is taken if None. Parts are sent several
                at once, and the replies joined.
            check: Compare names, dtypes and shapes with the server's signature first; the client's if None.
            on_batch: Called with the number of samples of each part that was answered.

        Returns:
            Read-only arrays by output name, strings as object arrays of bytes.

        Raises:
            ArgumentError, CodecError, SamplesError: for arguments and inputs that cannot work.
            UnavailableError, DeadlineError: if no server answers, after retries, or not in time.
            NotFoundError: for an unknown model or version, naming those that exist.
            RefusedError: if the server refuses the request: an unknown signature, wrong inputs.

        Example:
            >>> from attnexport.serving import Client, MockTransport
            >>> import numpy as np
            >>> transport = MockTransport(lambda request: {"sum": request.inputs["x"].sum(axis=1)}, version=3)
            >>> with Client("127.0.0.1:8500", model="sums", transport=transport) as client:
            ...     prediction = client.predict({"x": np.arange(6.0).reshape(3, 2)}, max_batch=2)
            >>> prediction["sum"].tolist(), prediction.version
            ([1.0, 5.0, 9.0], 3)
        """
        return self._session.run(
            self._session.operations.predict(
                inputs, model, signature, version, label, outputs, timeout, max_batch, check, on_batch
            )
        )

    def classify(
        self,
        examples: Examples,
        *,
        model: str | None = None,
        signature: str = DEFAULT_SIGNATURE,
        version: int | None = None,
        label: str | None = None,
        context: Features | None = None,
        timeout: float | None = None,
    ) -> list[list[ClassScore]]:
        """Classify examples: for each, the classes with their scores.

        Each example is a dict from feature to a value or a list of values, or a serialized tf.Example; `context` are
        features that all of them share. The other arguments and errors are those of `predict`.

        Example:
            >>> from attnexport.serving import Client, MockTransport
            >>> from attnexport.serving.messages import ClassificationResponse
            >>> result = {"classifications": [{"classes": [{"label": "good", "score": 0.75}]}]}
            >>> mock = MockTransport(handlers={"Classify": lambda request: ClassificationResponse(result=result)})
            >>> with Client("127.0.0.1:8500", model="m", transport=mock) as client:
            ...     client.classify([{"text": "very good"}], signature="classify")
            [[ClassScore(label='good', score=0.75)]]
        """
        return self._session.run(
            self._session.operations.classify(examples, model, signature, version, label, context, timeout)
        )

    def regress(
        self,
        examples: Examples,
        *,
        model: str | None = None,
        signature: str = DEFAULT_SIGNATURE,
        version: int | None = None,
        label: str | None = None,
        context: Features | None = None,
        timeout: float | None = None,
    ) -> Array:
        """Compute a number for each example: `[n]` float32. Arguments and errors are those of `classify`.

        Example:
            >>> from attnexport.serving import Client, MockTransport
            >>> from attnexport.serving.messages import RegressionResponse
            >>> result = {"regressions": [{"value": 250.0}]}
            >>> mock = MockTransport(handlers={"Regress": lambda request: RegressionResponse(result=result)})
            >>> with Client("127.0.0.1:8500", model="m", transport=mock) as client:
            ...     client.regress([{"rooms": 3, "area": 71.5}], signature="price").tolist()
            [250.0]
        """
        return self._session.run(
            self._session.operations.regress(examples, model, signature, version, label, context, timeout)
        )

    def multi_inference(
        self,
        examples: Examples,
        tasks: Sequence[tuple[str, str]],
        *,
        model: str | None = None,
        version: int | None = None,
        label: str | None = None,
        context: Features | None = None,
        timeout: float | None = None,
    ) -> list[InferenceResult]:
        """Run several signatures over the same examples: for each task what `classify` or `regress` returns.

        A task is `("classify" or "regress", signature)`; the other arguments and errors are those of `classify`.

        Example:
            >>> from attnexport.serving import Client, MockTransport
            >>> from attnexport.serving.messages import MultiInferenceResponse
            >>> results = [{"regression_result": {"regressions": [{"value": 250.0}]}}]
            >>> infer = lambda request: MultiInferenceResponse(results=results)
            >>> mock = MockTransport(handlers={"MultiInference": infer})
            >>> with Client("127.0.0.1:8500", model="m", transport=mock) as client:
            ...     client.multi_inference([{"rooms": 3}], [("regress", "price")])
            [array([250.], dtype=float32)]
        """
        return self._session.run(
            self._session.operations.multi_inference(examples, tasks, model, version, label, context, timeout)
        )

    def metadata(
        self,
        *,
        model: str | None = None,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> ModelMetadata:
        """Ask for the signatures of a model, and its version.

        Example:
            >>> from attnexport.serving import Client, MockTransport
            >>> from attnexport.core import Signature, TensorSpec
            >>> double = Signature("double", (TensorSpec("x", "int32", (None,)),), (TensorSpec("y", "int32", (None,)),))
            >>> with Client("127.0.0.1:8500", model="m", transport=MockTransport(signatures=[double])) as client:
            ...     client.metadata().signatures["double"].inputs[0].shape
            (None,)
        """
        return self._session.run(self._session.operations.metadata(model, version, label, timeout))

    def status(
        self, *, model: str | None = None, version: int | None = None, timeout: float | None = None
    ) -> list[VersionStatus]:
        """Ask for the state of each version of a model, or of one version; the newest first.

        Example:
            >>> from attnexport.serving import Client, MockTransport
            >>> with Client("127.0.0.1:8500", model="m", transport=MockTransport(version=3)) as client:
            ...     client.status()
            [VersionStatus(version=3, state='AVAILABLE', error_code=0, error='')]
        """
        return self._session.run(self._session.operations.status(model, version, timeout))

    def list_models(self, *, timeout: float | None = None) -> dict[str, list[VersionStatus]]:
        """Ask an embedded server for its models and their versions.

        Raises:
            RefusedError: if the server cannot say, as TensorFlow Serving cannot.
        """
        return self._session.run(self._session.operations.list_models(timeout))

    def reload_config(self, config: str | Mapping[str, str | Path], *, timeout: float | None = None) -> None:
        """Replace the configuration of every server: base paths by model name, or a ModelServerConfig in text format.

        Raises:
            ArgumentError: for text that is not a ModelServerConfig.
            RefusedError: if a server refuses the configuration; the servers before it have it.

        Example:
            >>> from attnexport.serving import Client, MockTransport
            >>> with Client(["127.0.0.1:8500", "127.0.0.1:8501"], transport=MockTransport()) as client:
            ...     client.reload_config({"classifier": "/models/classifier", "digits": "/models/digits"})
        """
        self._session.run(self._session.operations.reload_config(config, timeout))

    def wait_until_ready(
        self, *, model: str | None = None, version: int | None = None, timeout: float | None = None
    ) -> None:
        """Wait until a version of the model is AVAILABLE, or, if no model is named, until a server answers.

        Raises:
            DeadlineError: if that takes longer than `timeout` (the client's if None), saying what was missing.
            ServingError: at once, if the model failed to load.

        Example:
            >>> from attnexport.serving import Client, MockTransport
            >>> with Client("127.0.0.1:8500", model="m", transport=MockTransport()) as client:
            ...     client.wait_until_ready(timeout=120)
        """
        self._session.run(self._session.operations.wait_until_ready(model, version, timeout))

    def close(self) -> None:
        """Close the connections; calls in progress fail."""
        self._session.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
