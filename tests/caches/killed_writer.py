"""Writes to a disk cache until it is killed, and says after each write what it was told was kept."""

import math
import sys
from pathlib import Path

from farthing.caches.disk import Disk

cache = Disk(path=Path(sys.argv[1]), capacity_bytes=200_000)
number = 0
while True:
    if cache.put("a", b"%d" % number, b"%d" % number * 50, math.inf):
        print(number, flush=True)
    number += 1
