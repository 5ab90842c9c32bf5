"""price(): measurement x unit price -> Cost; capacity in whole machines, break-even, and how far the answer holds."""

from farthing.pricing.bill import Usage, left_out, price
from farthing.pricing.demand import Demand, demand_of
from farthing.pricing.energy import energy_meter
from farthing.pricing.ranges import break_even, cheapest_price_ratios, cheapest_rates, search_usd
from farthing.pricing.tariff import Tariff, read_tariff

__all__ = [
    "Demand",
    "Tariff",
    "Usage",
    "break_even",
    "cheapest_price_ratios",
    "cheapest_rates",
    "demand_of",
    "energy_meter",
    "left_out",
    "price",
    "read_tariff",
    "search_usd",
]
