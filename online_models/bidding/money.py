"""Money: prices on the wire are CPM, what is booked are whole micros, models see currency for one impression."""

from __future__ import annotations

from math import ceil, inf, nextafter

# Millionths of the currency: whole numbers add up exactly. One CPM is a thousandth for an impression.
MICROS = 1_000_000
_MICROS_A_CPM = MICROS // 1_000
# A price such as 0.7 has no exact double; what is left of it must not round up to one micro more.
_NOISE = 1e-6


def micros_of_cpm(cpm: float) -> int:
    """Return what one impression at this price costs at most, in micros.

    >>> micros_of_cpm(0.7), micros_of_cpm(0.7001)
    (700, 701)
    """
    return ceil(cpm * _MICROS_A_CPM - _NOISE)


def micros_of(amount: float) -> int:
    """Return an amount of currency in micros, rounded.

    >>> micros_of(12.5)
    12500000
    """
    return round(amount * MICROS)


def per_impression(cpm: float) -> float:
    """Return the currency that one impression costs.

    >>> per_impression(2.0)
    0.002
    """
    return cpm / 1_000


def least_per_impression(cpm: float) -> float:
    """Return the lowest currency for one impression that is not below a CPM when it is told as one.

    >>> per_impression(0.0311) * 1_000 < 0.0311, least_per_impression(0.0311) * 1_000 >= 0.0311
    (True, True)
    """
    amount = per_impression(cpm)
    return amount if cpm_of(amount) >= cpm else nextafter(amount, inf)


def cpm_of(amount: float) -> float:
    """Return the CPM of what one impression costs.

    >>> cpm_of(0.002)
    2.0
    """
    return amount * 1_000
