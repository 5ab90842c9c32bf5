"""How alike two texts must be for one answer: a threshold with a bound on wrong hits, proved end to end against the floor."""

from farthing.calibration.threshold import calibrate as calibrate
