"""Rates with their uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

QUANTILE = NormalDist().inv_cdf(0.975)  # of an interval of 95 %


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A share of a number of cases, for example of candidates.

    Attributes:
        count: Number of cases that are counted.
        of: Number of all cases.
    """

    count: int
    of: int

    @property
    def share(self) -> float:
        """The share, 0 to 1; NaN if there are no cases."""
        return self.count / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's score interval at 95 % (JASA 22, 1927), valid at 0 and for few cases; (0, 1) without any."""
        if not self.of:
            return 0.0, 1.0
        squared = QUANTILE * QUANTILE
        centre = (self.count + squared / 2) / (self.of + squared)
        reach = QUANTILE / (self.of + squared) * math.sqrt(self.count * (1 - self.share) + squared / 4)
        # exactly 0 and 1 at the ends, where rounding would leave 1e-17
        return centre - reach if self.count else 0.0, centre + reach if self.count < self.of else 1.0

    @property
    def counted(self) -> str:
        """The rate as counts: "3 of 20 (5.2 to 36.0 %)", or "none yet"."""
        low, high = self.interval
        return f"{self.count} of {self.of} ({100 * low:.1f} to {100 * high:.1f} %)" if self.of else "none yet"

    def __str__(self) -> str:
        """The rate as a percentage: "15.0 % (95 %: 5.2-36.0 %)"."""
        low, high = self.interval
        share = f"{100 * self.share:.1f} %" if self.of else "unknown"
        return f"{share} (95 %: {100 * low:.1f}-{100 * high:.1f} %)"
