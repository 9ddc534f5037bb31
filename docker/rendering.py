"""Fill in the templates."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from .deployment import Deployment

_TEMPLATES = Path(__file__).parent / "templates"
_BOTH = "both"


def render(deployment: Deployment) -> dict[str, str]:
    """Render every file: its text by its path below the deployment's directory.

    Example:
        >>> image = "classifier:3", "2.20.0"
        >>> plan = Deployment("docker", "classifier", "classifier", 3, *image, 2, 64, 768, (), "the batch is fixed", 2)
        >>> render(plan)["config/models.config"].count("classifier")
        2
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # [[ ]] because Prometheus's templates use braces. No file is HTML, and every value was checked.
    environment = Environment(  # noqa: S701
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        variable_start_string="[[",
        variable_end_string="]]",
        block_start_string="[%",
        block_end_string="%]",
        comment_start_string="[##",
        comment_end_string="##]",
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    values = asdict(deployment)
    files = {}
    for folder in (_BOTH, deployment.target):
        for path in sorted((_TEMPLATES / folder).rglob("*")):
            if path.is_file():
                name = path.relative_to(_TEMPLATES).as_posix()
                text = environment.get_template(name).render(values)
                if text.strip():
                    files[name.partition("/")[2]] = text
    return files
