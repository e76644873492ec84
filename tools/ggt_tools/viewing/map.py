"""A 2-D map of pairs, to find outliers: the first two principal components of their scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ggt_format.index_file import index_column
from ggt_tools.viewing.catalogue import Catalogue
from ggt_tools.viewing.query import Filter

MAX_POINTS = 20_000
LIMIT = 5.0  # robust standard deviations beyond which a score is cut, so that one outlier does not make the map

Floats = npt.NDArray[np.float64]


def draw_map(catalogue: Catalogue, filter: Filter, max_points: int) -> dict[str, Any]:
    """Return a map of the pairs that a filter selects.

    Args:
        catalogue: The pairs of the release.
        filter: Which of them are shown.
        max_points: Largest number of points. Of more pairs, evenly spaced ones are shown.

    Returns:
        `points`: for each the number of the pair, its key, x and y in 0..1; `colours`: by column the values of the
        points; `explained`: the share of the variance that each axis explains; `shown` and `total`.
    """
    rows = catalogue.rows(filter)
    shown = rows[np.linspace(0, len(rows) - 1, max_points).astype(np.int64)] if len(rows) > max_points else rows
    table = catalogue.table(filter.split, ["key", "degradation", "restorer", "scores"])
    scores = {
        metric: index_column(table, f"scores.{metric}").to_numpy()[shown].astype(np.float64)
        for metric in catalogue.metrics
    }
    places, explained = principal_components(list(scores.values()))
    keys, classes, restorers = (
        table[name].take(shown).to_pylist() for name in ("key", "degradation", "restorer")
    )  # one call each, because 20,000 single look-ups take a second
    metric = filter.sort.removeprefix("-")
    colours: dict[str, list[Any]] = {"degradation": classes, "restorer": restorers}
    if metric:
        colours[metric] = [None if np.isnan(value) else round(float(value), 4) for value in scores[metric]]
    return {
        "points": [
            [int(row), key, round(float(x), 4), round(float(y), 4)]
            for row, key, (x, y) in zip(shown, keys, places, strict=True)
        ],
        "colours": colours,
        "explained": [round(float(share), 3) for share in explained],
        "shown": len(shown),
        "total": len(rows),
    }


def principal_components(columns: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Return the places of n points on a map, and the share of the variance that each axis explains.

    Each score is centred at its median and scaled by its median absolute deviation; what was not measured counts as the
    median.

    Args:
        columns: (n,) values of each score, NaN where not measured.

    Returns:
        (n, 2) places in 0..1, and (2,) shares.
    """
    scaled = []
    for values in columns:
        measured = values[np.isfinite(values)]
        if not measured.size:
            continue
        middle = np.median(measured)
        scale = 1.4826 * np.median(np.abs(measured - middle)) or measured.std()
        if scale > 0:
            centred = np.nan_to_num((values - middle) / scale, nan=0.0, posinf=LIMIT, neginf=-LIMIT)
            scaled.append(np.clip(centred, -LIMIT, LIMIT))
    count = len(columns[0]) if columns else 0
    if not scaled or count < 3:
        return np.full((count, 2), 0.5), np.zeros(2)
    data = np.stack(scaled, axis=1)
    data -= data.mean(axis=0)
    variances, axes = np.linalg.eigh(data.T @ data)
    axes = axes[:, ::-1][:, :2]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])  # one of two equal maps
    places = data @ axes
    if places.shape[1] < 2:
        places = np.column_stack([places, np.zeros(count)])
    low, high = places.min(axis=0), places.max(axis=0)
    shares = np.resize(variances[::-1], 2) / max(variances.sum(), 1e-12) if len(variances) > 1 else np.array([1.0, 0.0])
    return (places - low) / np.where(high > low, high - low, 1.0), shares[:2]
