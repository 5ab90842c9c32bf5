"""A container file: the packages that the artifact was checked with and no others, the artifact proven, no root."""

import json
from dataclasses import dataclass
from typing import ClassVar

from farthing.renderers.base import PORT, Plan, Renderer, arguments

USER = 10001
# Loaded beside the artifact, or brought by those that it needs: pip chooses these itself.
NOT_ASKED_FOR = frozenset({"python", "farthing", "setuptools", "pip", "wheel"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Container(Renderer):
    """Built with the artifact's folder as context: docker build --file Containerfile --tag IMAGE ARTIFACT.

    What is installed is what was loaded when the artifact was packed and had answered, in those versions: no extra is
    named, so that what only made the model (torch, nncf) stays out. A changed artifact fails the build.
    """

    target: ClassVar[str] = "container"
    file: ClassVar[str] = "Containerfile"

    def render(self, plan: Plan) -> str:
        base = f"python:{plan.versions['python']}-slim"
        check = f"from pathlib import Path; from farthing.artifact import load; load(Path('/artifact'), trust={plan.pickled})"
        entry = ["/venv/bin/farthing", "serve", "/artifact", *arguments(plan)]
        replicas = str(plan.deployment.replicas)
        lines = [
            "# syntax=docker/dockerfile:1",
            "# docker build --file Containerfile --tag " + plan.image + " ARTIFACT",
            f"FROM {base} AS made",
            "# Another place to get it from, a wheel for example: --build-arg FARTHING=...",
            f'ARG FARTHING="farthing[serve]=={plan.versions["farthing"]}"',
            *_torch(plan),
            "COPY <<EOF /requirements.txt",
            *requirements(plan),
            "EOF",
            "RUN python -m venv /venv \\",
            f' && /venv/bin/pip install --no-cache-dir {_index(plan)}--requirement /requirements.txt "$FARTHING"',
            "COPY . /artifact",
            "# The artifact that was rendered, and every byte of it.",
            f'RUN echo "{plan.manifest_sha256}  /artifact/manifest.json" | sha256sum --check --strict \\',
            f' && /venv/bin/python -c "{check}" \\',
            " && chmod -R a+rX,go-w /artifact",
            "",
            f"FROM {base}",
            "COPY --from=made /venv /venv",
            "COPY --from=made /artifact /artifact",
            "ENV HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1",
            f"USER {USER}:{USER}",
            f"EXPOSE {PORT}",
            "STOPSIGNAL SIGTERM",
            f"ENTRYPOINT {json.dumps(entry)}",
            f'CMD ["--replicas", "{replicas}"]',
        ]
        return "\n".join(lines) + "\n"


def requirements(plan: Plan) -> list[str]:
    """One pinned package a line; a build's local mark (+cpu) names no file of a registry, so it goes."""
    return [
        f"{name}=={number.partition('+')[0]}" for name, number in sorted(plan.versions.items()) if name not in NOT_ASKED_FOR
    ]


def _torch(plan: Plan) -> list[str]:
    if not plan.needs_torch:
        return []
    return ["# Where the CPU build of torch comes from: see the README. Empty: what the registry has.", 'ARG TORCH_INDEX=""']


def _index(plan: Plan) -> str:
    return '${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} ' if plan.needs_torch else ""
