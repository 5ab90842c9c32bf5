"""Which meter reads this machine, and what the energy of one request is."""

from dataclasses import dataclass

from farthing import plugins
from farthing.meters.base import Meter
from farthing.results import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    joules: float
    source: str  # measured by which meter, or modelled how


def energy_meter(device: Device, *, sensors: bool = True) -> Meter | None:
    """A sensor if one can be read now (and `sensors`), else a model of the device, else None."""
    kinds = [plugins.load(Meter, name) for name in plugins.names(Meter)]  # type: ignore[type-abstract]
    able = [kind for kind in kinds if (sensors or not kind.measured) and kind.available(device)]
    return max(able, key=lambda kind: kind.measured)() if able else None


def request_energy(
    device: Device, model: Meter | None, *, busy_core_s: float, paid_s: float, busy: Energy | None = None
) -> Energy | None:
    """The energy of one request that keeps `busy_core_s` core-seconds busy and pays for `paid_s` seconds of this machine.

    `busy` was measured while it was served. What was not measured is modelled: everything, or only the idle seconds.
    """
    if model is None:
        return busy
    if busy is None:
        joules = model.energy_j(device, busy_core_s=busy_core_s, elapsed_s=paid_s)
        return Energy(joules=joules, source=model.describe(device))
    idle_s = max(0.0, paid_s - busy_core_s / device.num_cores)
    idle_j = model.energy_j(device, busy_core_s=0.0, elapsed_s=idle_s)
    return Energy(
        joules=busy.joules + idle_j, source=f"{busy.source}; idle time {model.describe(device)}" if idle_s else busy.source
    )
