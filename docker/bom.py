"""The software bill of materials of a deployment's image, in CycloneDX 1.6."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from .deployment import Deployment

_IMAGE, _BASE, _MODEL = "image", "base", "model"


def bill_of_materials(deployment: Deployment, files: Mapping[str, str]) -> str:
    """What an image is made of, as the JSON of a CycloneDX document.

    It lists what the deployment adds, file by file, and the image that it is built on by its name. What is inside that
    image is not known here: a scanner of images lists it once it was built.

    Args:
        deployment: The values of the deployment.
        files: The hash (`sha256:...`) of each file in the image, by its path below the deployment's directory.

    Example:
        >>> image = "classifier:3", "2.20.0"
        >>> plan = Deployment("docker", "classifier", "classifier", 3, *image, 2, 64, 768, (), "the batch is fixed", 2)
        >>> document = json.loads(bill_of_materials(plan, {"models/classifier/3/saved_model.pb": "sha256:" + 64 * "0"}))
        >>> [component["name"] for component in document["components"]]
        ['tensorflow/serving', 'classifier']
    """
    tag, _, digest = deployment.tf_serving_version.partition("@")
    base = {
        "type": "container",
        "bom-ref": _BASE,
        "name": "tensorflow/serving",
        "version": tag,
        "purl": f"pkg:docker/tensorflow/serving@{digest or tag}",
        **({"hashes": [_hash(digest)]} if digest else {}),
    }
    model_path = f"models/{deployment.name}/"
    model = {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": deployment.name,
        "version": str(deployment.version),
        "components": [_file(path, each) for path, each in files.items() if path.startswith(model_path)],
    }
    others = [_file(path, each) for path, each in files.items() if not path.startswith("models/")]
    name, _, image_tag = deployment.image.rpartition(":") if ":" in deployment.image else (deployment.image, "", "")
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": {
                "components": [{"type": "application", "name": "attnexport", "version": version("attnexport")}],
            },
            "component": {"type": "container", "bom-ref": _IMAGE, "name": name, "version": image_tag},
        },
        "components": [base, model, *others],
        "dependencies": [{"ref": _IMAGE, "dependsOn": [_BASE, _MODEL, *(each["bom-ref"] for each in others)]}],
    }
    return json.dumps(document, indent=2) + "\n"


def _file(path: str, file_hash: str) -> dict[str, Any]:
    return {"type": "file", "bom-ref": path, "name": path, "hashes": [_hash(file_hash)]}


def _hash(text: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": text.removeprefix("sha256:")}
