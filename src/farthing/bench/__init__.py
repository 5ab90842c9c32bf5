"""bench(): open-loop load on any HTTP endpoint, one rate or a sweep up to the knee."""

from farthing.bench.figures import Bench as Bench
from farthing.bench.figures import Run as Run
from farthing.bench.figures import document as document
from farthing.bench.figures import line as line
from farthing.bench.figures import table as table
from farthing.bench.load import Load as Load
from farthing.bench.load import bodies as bodies
from farthing.bench.load import mean_rate as mean_rate
from farthing.bench.run import bench as bench
