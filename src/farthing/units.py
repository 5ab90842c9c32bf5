"""The only place where ms, GiB, kWh and months become s, bytes, J and seconds, and back."""

SECONDS_PER_HOUR = 3600.0
SECONDS_PER_MONTH = 730.0 * SECONDS_PER_HOUR  # cloud bills count 730 hours a month
BYTES_PER_GIB = float(2**30)
JOULES_PER_KWH = 3.6e6
MILLION = 1_000_000


def ms(seconds: float) -> float:
    return seconds * 1e3


def from_ms(milliseconds: float) -> float:
    return milliseconds / 1e3


def gib(num_bytes: float) -> float:
    return num_bytes / BYTES_PER_GIB


def from_gib(num_gib: float) -> float:
    return num_gib * BYTES_PER_GIB


def mib(num_bytes: float) -> float:
    return num_bytes / 2**20


def from_mib(num_mib: float) -> float:
    return num_mib * 2**20


def kwh(joules: float) -> float:
    return joules / JOULES_PER_KWH


def hours(seconds: float) -> float:
    return seconds / SECONDS_PER_HOUR


def from_minutes(minutes: float) -> float:
    return minutes * 60.0
