"""save(), load(): what comes out, one folder that runs without what made it; and how it is verified, asked and gated."""

from farthing.artifact.gate import gate as gate
from farthing.artifact.manifest import Artifact as Artifact
from farthing.artifact.manifest import Manifest as Manifest
from farthing.artifact.manifest import load as load
from farthing.artifact.predict import open_session as open_session
from farthing.artifact.predict import predict as predict
from farthing.artifact.sample import Sample as Sample
from farthing.artifact.save import save as save
from farthing.artifact.verify import Check as Check
from farthing.artifact.verify import Verdict as Verdict
from farthing.artifact.verify import verify as verify
