"""fit(): a plain training loop; what a method that learns is given to learn with."""

from farthing.training.loop import Fitted as Fitted
from farthing.training.loop import Schedule as Schedule
from farthing.training.loop import fit as fit
