"""What deploy writes, judged by the tools of those who read it, and by the embedded server started with it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from attnexport.store.files import hash_of

Deploy = Callable[..., Path]
Flags = Callable[[Path], list[str]]
BIN = Path(sys.executable).parent


def check(*words: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_dockerfiles_and_the_script_pass_their_linters(root: Path, deployed: Deploy) -> None:
    output = deployed("docker")
    check(BIN / "hadolint", output / "Dockerfile", *sorted((root / "docker").glob("*.Dockerfile")))
    check(BIN / "shellcheck", output / "health.sh")


def test_the_images_of_the_toolkit_copy_every_package(root: Path) -> None:
    folders = {path.parent.name for path in root.glob("*/py.typed")}
    for name in ("toolkit", "client"):
        text = (root / "docker" / f"{name}.Dockerfile").read_text()
        assert set(re.findall(r"^COPY (\w+)/ \1/$", text, re.MULTILINE)) == folders
        assert "USER 10001:10001" in text


def test_the_bill_of_materials_names_everything_in_the_image(deployed: Deploy, export: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    digest = f"sha256:{'0123456789abcdef' * 4}"
    output = deployed("docker", "--tf-serving-version", f"2.20.0@{digest}", "--image", "registry.example/team/c:7")
    text = (output / "bom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    base, model, *files = document["components"]
    assert base["purl"] == f"pkg:docker/tensorflow/serving@{digest}"
    assert f"ARG TF_SERVING_VERSION=2.20.0@{digest}\n" in (output / "Dockerfile").read_text()
    listed = {each["name"]: each["hashes"][0]["content"] for each in (*model["components"], *files)}
    copied = [output / "health.sh", *(output / "config").rglob("*"), *(output / "models").rglob("*")]
    assert listed == {
        path.relative_to(output).as_posix(): hash_of(path).removeprefix("sha256:") for path in copied if path.is_file()
    }
    assert (document["metadata"]["component"]["name"], document["metadata"]["component"]["version"]) == (
        "registry.example/team/c", "7",
    )  # fmt: skip


def test_compose_and_the_manifests_fit_their_schemas(deployed: Deploy) -> None:
    compose, manifests = deployed("docker") / "compose.yaml", deployed("kubernetes") / "kubernetes"
    check(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", compose)
    resources = yaml.safe_load((manifests / "kustomization.yaml").read_text())["resources"]
    assert {*resources, "kustomization.yaml"} == {path.name for path in manifests.iterdir()}
    check(BIN / "kubernetes-validate", "--strict", *(manifests / name for name in resources))
    if shutil.which("kubectl"):
        assert check("kubectl", "kustomize", manifests).count("\nkind:") == len(resources)


def test_the_manifests_belong_together(deployed: Deploy, flags: Flags) -> None:
    output = deployed("kubernetes")
    found = {
        document["kind"]: document
        for path in (output / "kubernetes").glob("*.yaml")
        for document in yaml.safe_load_all(path.read_text())
    }
    pod = found["Deployment"]["spec"]["template"]
    [container] = pod["spec"]["containers"]
    selector = found["Deployment"]["spec"]["selector"]["matchLabels"]
    assert selector.items() <= pod["metadata"]["labels"].items()
    assert found["Service"]["spec"]["selector"] == selector
    assert found["Service"]["spec"]["clusterIP"] == "None"
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == selector
    assert found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == found["Deployment"]["metadata"]["name"]
    assert "replicas" not in found["Deployment"]["spec"], "the autoscaler's, not ours"
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    given = dict(word.removeprefix("--").split("=", 1) for word in flags(output))
    assert (ports["grpc"], ports["rest"]) == (int(given["port"]), int(given["rest_api_port"]))
    assert {each["targetPort"] for each in found["Service"]["spec"]["ports"]} == set(ports)
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    # Every connection has ended by its age, and the client has looked up the addresses again, before the server goes.
    drain = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    age = int(given["grpc_channel_arguments"].partition("max_connection_age_ms=")[2]) / 1000
    assert 1.1 * age < drain < pod["spec"]["terminationGracePeriodSeconds"]
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["exec"]["command"] == ["/usr/local/bin/health.sh"]


def test_every_flag_is_one_of_tf_servings(root: Path, deployed: Deploy, flags: Flags) -> None:
    known = (root / "docs" / "tfserving.md").read_text().partition("## Flags\n")[2].partition(" Booleans ")[0]
    names = set(re.findall(r"(?:^|, )(\w+)", known))
    assert len(names) >= 40
    given = flags(deployed("docker"))
    assert {word.removeprefix("--").partition("=")[0] for word in given} <= names
    assert "--enable_model_warmup=true" in given
    assert "--enable_serialization_as_tensor_content=true" in given


def test_every_text_file_parses_as_its_message(deployed: Deploy) -> None:
    from attnexport.serving.messages import POOL, ModelServerConfig
    from attnexport.serving.server.text_config import BatchingParameters, MonitoringConfig, read_text

    config = deployed("docker") / "config"
    [model] = read_text(config / "models.config", ModelServerConfig, POOL).model_config_list.config
    assert (model.name, model.base_path) == ("classifier", "/models/classifier")
    assert list(model.model_version_policy.specific.versions) == [1]
    batching = read_text(config / "batching.config", BatchingParameters)
    assert list(batching.allowed_batch_sizes)[-1] == batching.max_batch_size.value
    assert read_text(config / "monitoring.config", MonitoringConfig).prometheus_config.enable


def test_the_embedded_server_answers_when_started_with_the_very_same_files(deployed: Deploy, started: Any) -> None:
    from attnexport.serving import Client

    output = deployed("docker")
    with started(output) as server:
        with Client(server.grpc_address, model="classifier") as client:
            prediction = client.predict(np.zeros((2, 10, 64), "float32"))
            assert prediction.version == 1
            assert prediction["logits"].shape == (2, 10)
        port = server.rest_address.rpartition(":")[2]
        script = output / "health.sh"
        check(script, port)
        server._server.manager.configure([])
        assert subprocess.run([script, port], capture_output=True, check=False).returncode != 0, "no model is AVAILABLE"
    assert subprocess.run([script, port], capture_output=True, check=False).returncode != 0, "nobody is there"
