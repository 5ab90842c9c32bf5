"""adapt(): a torch pipeline learns new labels or new data, and stays an ordinary torch pipeline."""

from farthing.adaptation.adapt import adapt as adapt
from farthing.adaptation.replay import Reservoir as Reservoir
from farthing.adaptation.tasks import Adaptation as Adaptation
from farthing.adaptation.tasks import Task as Task
