"""The embedder of the semantic cache: an artifact with a replica and a queue of its own; where it fails, the model answers."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from farthing import artifact
from farthing.artifact import Artifact
from farthing.calibration import record as records
from farthing.errors import JobError
from farthing.serving.metrics import Metrics
from farthing.serving.options import Options
from farthing.serving.pending import Refused
from farthing.serving.recall import Near
from farthing.serving.version import Request, opened
from farthing.types import Array

LONGEST_S = 1.0  # until a vector is given up and the model asked


@asynccontextmanager
async def near(model: Artifact, options: Options) -> AsyncIterator[Near | None]:
    """None where no semantic cache is asked for. Raises JobError for a record of another model or embedder, BuildError."""
    caching = options.caching
    if caching.semantic is None or caching.embedder is None:
        yield None
        return
    record = records.read(Path(caching.semantic))
    loaded = artifact.load(Path(caching.embedder), trust=options.trust)
    for what, given, wanted in (("model", model, record.model), ("embedder", loaded, record.embedder)):
        if artifact.identity(given) != wanted:
            raise JobError(f"{caching.semantic} was calibrated with another {what} than {given.directory}: calibrate again")
    async with opened(loaded, Options(replicas=1), Metrics()) as version:
        threads = loaded.manifest.deployment.threads

        async def embed(text: str) -> tuple[Array | None, float]:
            with contextlib.suppress(Refused):
                vector = (await version.answer((text,), Request(deadline_s=LONGEST_S)))[0]
                return vector, version.receipt.busy_s / version.receipt.num_answered * threads
            return None, 0.0

        yield Near(record=record, embed=embed)
