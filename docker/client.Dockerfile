# attnexport's client alone, without TensorFlow: predict, status, metadata, benchmark --server, and the Python client.
#   docker build -t attnexport-client -f docker/client.Dockerfile .
#   docker run --rm --read-only attnexport-client status --server serving:8500 --model classifier
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
WORKDIR /source
RUN python -m venv /opt/attnexport
COPY requirements-client.txt constraints.txt ./
RUN /opt/attnexport/bin/pip install --no-cache-dir -c constraints.txt -r requirements-client.txt
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY cli/ cli/
COPY core/ core/
COPY docker/ docker/
COPY examples/ examples/
COPY exporter/ exporter/
COPY parity/ parity/
COPY serving/ serving/
COPY src/attnexport/__init__.py src/attnexport/__main__.py src/attnexport/py.typed src/attnexport/
COPY store/ store/
COPY tflite/ tflite/
COPY workflows/ workflows/
RUN /opt/attnexport/bin/pip install --no-cache-dir --no-deps .

FROM python:${PYTHON_VERSION}-slim
COPY --from=build /opt/attnexport /opt/attnexport
ENV PATH=/opt/attnexport/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
ENTRYPOINT ["attnexport"]
CMD ["--help"]
