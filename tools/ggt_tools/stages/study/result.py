"""The result of a study: a row for each class and entrant, the ranking, and the recommendation."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ggt_tools.stages.study.ranking import RankedEntrant

ALL = "all"
CRITERIA = ("fidelity", "quality", "vlm", "preferred")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A value with its interval of 95 %; NaN if nothing is known."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRow:
    """The result of one entrant on the photographs of one class, or on all.

    Attributes:
        degradation: The class, or ALL.
        entrant: Name of the entrant.
        photographs: Number of photographs with a candidate.
        of: Number of photographs.
        fidelity: Share of the other entrants that it beats in content fidelity, 0 to 1.
        quality: Share of the other entrants that it beats in perceptual quality, 0 to 1.
        vlm: Mean of the fidelity and quality that the vision-language model gives it, 0 to 100.
        preferred: Probability that people prefer it to another entrant, 0 to 1.
        choices: Number of choices in which it was shown.
        usd: Cost of a photograph; NaN if it is not known.
    """

    degradation: str
    entrant: str
    photographs: int
    of: int
    fidelity: Interval
    quality: Interval
    vlm: Interval
    preferred: Interval
    choices: int
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """The result of a study.

    Attributes:
        rows: One row for each class and entrant: all photographs first, in each class the most preferred first.
        ranking: The entrants by what people prefer, the strongest first.
        recommended: The entrant to take; "" if nothing is known.
        reasons: Why, as sentences.
        cautions: What speaks against it, as sentences.
    """

    rows: tuple[StudyRow, ...]
    ranking: tuple[RankedEntrant, ...]
    recommended: str
    reasons: tuple[str, ...]
    cautions: tuple[str, ...]

    def rows_of(self, degradation: str) -> list[StudyRow]:
        """Return the rows of one class, or of ALL."""
        return [row for row in self.rows if row.degradation == degradation]

    @property
    def degradations(self) -> list[str]:
        """ALL, and the classes."""
        return list(dict.fromkeys(row.degradation for row in self.rows))


def nan_as_least(value: float) -> float:
    """Return the value, or -inf for NaN, so that values can be ordered."""
    return -math.inf if math.isnan(value) else value
