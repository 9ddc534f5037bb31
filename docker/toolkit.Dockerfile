# The whole of attnexport, for CI pipelines and the embedded server:
#   docker build -t attnexport -f docker/toolkit.Dockerfile .
#   docker run --rm --read-only --tmpfs /tmp -v "$PWD:/work" --user "$(id -u):$(id -g)" attnexport tflite model.keras -q int8
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
WORKDIR /source
RUN python -m venv /opt/attnexport
COPY pyproject.toml hatch_build.py constraints.txt README.md LICENSE ./
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
RUN /opt/attnexport/bin/pip install --no-cache-dir -c constraints.txt '.[examples]'

FROM python:${PYTHON_VERSION}-slim
COPY --from=build /opt/attnexport /opt/attnexport
ENV PATH=/opt/attnexport/bin:$PATH PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
WORKDIR /work
USER 10001:10001
ENTRYPOINT ["attnexport"]
CMD ["--help"]
