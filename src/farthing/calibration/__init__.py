"""How alike two texts must be for one answer: a threshold with a bound on wrong hits, proved end to end against the floor."""

from farthing.calibration.run import Asked as Asked
from farthing.calibration.run import calibrated as calibrated
from farthing.calibration.threshold import calibrate as calibrate
