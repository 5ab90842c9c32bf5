"""save(), load(): what comes out, one folder that runs without what made it; and how it is verified, asked and gated."""

from farthing.artifact.gating import gate as gate
from farthing.artifact.manifest import Artifact as Artifact
from farthing.artifact.manifest import Manifest as Manifest
from farthing.artifact.manifest import identity as identity
from farthing.artifact.manifest import load as load
from farthing.artifact.packing import save as save
from farthing.artifact.prediction import answers as answers
from farthing.artifact.prediction import open_session as open_session
from farthing.artifact.prediction import predict as predict
from farthing.artifact.prediction import request as request
from farthing.artifact.sample import Sample as Sample
from farthing.artifact.verification import Check as Check
from farthing.artifact.verification import Verdict as Verdict
from farthing.artifact.verification import verify as verify
