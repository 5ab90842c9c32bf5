"""measure(): service times of a build, in rounds that alternate with the baseline's."""

from farthing.measurement.service import measure as measure
