"""judge(): whether a new version, seen beside the old one, is worse, proves no worse, or must be watched further."""

from farthing.rollout.evidence import Arm as Arm
from farthing.rollout.evidence import Evidence as Evidence
from farthing.rollout.judge import Guard as Guard
from farthing.rollout.judge import Judgement as Judgement
from farthing.rollout.judge import Margins as Margins
from farthing.rollout.judge import judge as judge
