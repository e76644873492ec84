"""Compare models that were evaluated on the same pairs: differences of means, with intervals of a paired bootstrap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95
MIN_PAIRS = 2  # with fewer there is nothing to resample


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How a model differs from the first one in a metric, over the pairs that both have.

    Attributes:
        model: The model.
        baseline: The first model.
        metric: The metric.
        pairs: Number of pairs that have a value for both.
        mean: Mean of the model.
        baseline_mean: Mean of the first model.
        difference: `mean` - `baseline_mean`.
        low, high: Limits of the interval of `difference`; NaN for fewer than `MIN_PAIRS` pairs.
        better: Share of the pairs in which the model is better; ties count as a half.
    """

    model: str
    baseline: str
    metric: str
    pairs: int
    mean: float
    baseline_mean: float
    difference: float
    low: float
    high: float
    better: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def paired_difference(
    values: Sequence[float], baseline: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float, float]:
    """Return the difference of the means and the limits of its 95 % interval.

    The interval is the percentile interval of the paired bootstrap (Efron and Tibshirani, 1993, chapter 13): pairs are
    drawn with replacement, and each draw keeps the two values of a pair together.

    Args:
        values: A value for each pair.
        baseline: The other model's value for the same pairs, in the same order.
        resamples: Number of draws.
        seed: Seed of the draws: equal input gives equal limits.
    """
    differences = np.asarray(values, np.float64) - np.asarray(baseline, np.float64)
    if len(differences) < MIN_PAIRS:
        return (float(differences.mean()) if len(differences) else math.nan), math.nan, math.nan
    generator = np.random.default_rng(seed)
    means = [differences[generator.integers(0, len(differences), len(differences))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(differences.mean()), float(low), float(high)


def compare(
    models: Sequence[tuple[str, Mapping[str, Mapping[str, float]]]],
    metrics: Sequence[tuple[str, bool]],
    *,
    seed: int = 0,
) -> list[Difference]:
    """Compare each model with the first.

    Args:
        models: Names of the models, and their values by key and metric.
        metrics: Names of the metrics, and whether smaller values are better.
        seed: Seed of the bootstrap.
    """
    (baseline, baseline_values), *others = models
    return [
        _difference(name, values, baseline, baseline_values, metric, is_lower, seed)
        for metric, is_lower in metrics
        for name, values in others
    ]


def _difference(
    name: str,
    values: Mapping[str, Mapping[str, float]],
    baseline: str,
    baseline_values: Mapping[str, Mapping[str, float]],
    metric: str,
    is_lower_better: bool,
    seed: int,
) -> Difference:
    both = [
        (values[key][metric], baseline_values[key][metric])
        for key in sorted(values.keys() & baseline_values.keys())
        if metric in values[key] and metric in baseline_values[key]
    ]
    table = np.asarray([pair for pair in both if all(map(math.isfinite, pair))], np.float64).reshape(-1, 2)
    difference, low, high = paired_difference(table[:, 0].tolist(), table[:, 1].tolist(), seed=seed)
    signs = np.sign(table[:, 0] - table[:, 1]) * (-1 if is_lower_better else 1)
    mean, baseline_mean = table.mean(axis=0) if len(table) else (math.nan, math.nan)
    return Difference(
        model=name,
        baseline=baseline,
        metric=metric,
        pairs=len(table),
        mean=float(mean),
        baseline_mean=float(baseline_mean),
        difference=difference,
        low=low,
        high=high,
        better=float(np.mean((signs + 1) / 2)) if len(table) else math.nan,
    )


def difference_table(differences: Sequence[Difference]) -> list[tuple[str, ...]]:
    """Return the rows as texts, the names of the columns first."""
    rows = [
        (
            each.metric,
            each.model,
            str(each.pairs),
            _number(each.mean),
            f"{_number(each.difference)} [{_number(each.low)}, {_number(each.high)}]",
            "-" if math.isnan(each.better) else f"{each.better:.0%}",
        )
        for each in differences
    ]
    baseline = differences[0].baseline if differences else ""
    return [("metric", "model", "pairs", "mean", f"minus {baseline} [95 %]", "better in"), *rows]


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
