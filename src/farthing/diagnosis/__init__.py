"""diagnose(): operators against the device's ceilings, and findings with bounds."""

from farthing.diagnosis.ceilings import load_or_measure as load_or_measure
from farthing.diagnosis.ceilings import measure_ceilings as measure_ceilings
from farthing.diagnosis.profile import diagnose as diagnose
