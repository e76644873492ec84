"""A card's figures: PNGs without a ground of their own, in colours that read on a white page and on a dark one."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ggt_format.pairs import PairDataset
from ggt_tools.errors import ConfigError
from ggt_tools.imaging.contact_sheet import contact_sheet
from ggt_tools.stages.card.release import Release
from ggt_tools.stages.card.text import plain
from ggt_tools.toml import parse_toml

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Contrast (WCAG 2.2, 1.4.3 and 1.4.11) on white and on the Hub's dark ground: texts 4.2 and more, fills 3 and more.
INK, FAINT = "#787878", "#8a8a8a"
FILLS = ("#3b82f6", "#d9730d", "#2e9e5b")
DPI = 160
BINS = 8, 30  # least and most bars of a histogram
COLUMNS = 4  # histograms a row
QUALITY = 85  # of its JPEG


def composition(release: Release) -> bytes:
    """A bar a degradation: its pairs, by kind of source."""
    names = release.degradations
    with _figure(9.0, 0.8 + 0.34 * len(names)) as (figure, file):
        axes = figure.subplots()
        before = np.zeros(len(names))
        for (kind, numbers), fill in zip(release.kinds.items(), FILLS, strict=False):
            axes.barh(names, numbers, left=before, color=fill, label=kind, height=0.68)
            before += numbers
        for at, total in enumerate(before):
            _beside(axes, total, at, f"{total:,.0f}")
        axes.set_xlim(0, before.max() * 1.1)
        _bars(axes)
        # its place is fixed, and so is the room above the bars: nothing to collide with
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0)
    return file.getvalue()


def funnel(release: Release) -> bytes:
    """Two bars a stage: what entered it, and what left it."""
    stages = release.funnel
    with _figure(9.0, 0.8 + 0.42 * len(stages)) as (figure, file):
        axes = figure.subplots()
        at = np.arange(len(stages))
        entered, left = [stage.entered for stage in stages], [stage.left for stage in stages]
        axes.barh(at, entered, color="none", edgecolor=FAINT, linewidth=1, height=0.68, label="entered")
        axes.barh(at, left, color=FILLS[0], height=0.68, label="left")
        for row, stage in enumerate(stages):
            _beside(axes, max(stage.entered, stage.left), row, f"{stage.left:,} of {stage.entered:,}")
        axes.set_yticks(at, [plain(stage.stage, 24) for stage in stages])
        axes.set_xlim(0, max(*entered, *left, 1) * 1.16)
        _bars(axes)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0)
    return file.getvalue()


def scores(release: Release) -> bytes:
    """A histogram a score, over all pairs; dashed, the bounds that the gate sets to all of them."""
    bounds = _bounds(release)
    rows = math.ceil(len(release.metrics) / COLUMNS)
    with _figure(10.0, 1.6 * rows) as (figure, file):
        grid = figure.subplots(rows, COLUMNS, squeeze=False)
        for axes, metric in zip(grid.flat, release.metrics, strict=False):
            values = release.values(metric).astype(np.float64)
            known = values[np.isfinite(values)]
            drawn = [*(np.percentile(known, [0.5, 99.5]) if known.size else ()), *bounds.get(metric, ())]
            low, high = (min(drawn), max(drawn)) if drawn else (0.0, 1.0)
            room = 0.03 * (high - low) or max(abs(low), 1.0) * 0.05
            low, high = low - room, high + room
            bins = int(np.clip(2 * math.sqrt(known.size), *BINS))
            axes.hist(np.clip(known, low, high), bins, range=(low, high), color=FILLS[0])
            for bound in bounds.get(metric, ()):
                axes.axvline(bound, color=FILLS[1], linestyle=(0, (4, 2)), linewidth=1.4)
            axes.set_title(metric, fontsize=10, loc="left", pad=3)
            axes.set_xlim(low, high)
            axes.set_yticks([])
            axes.locator_params(axis="x", nbins=4)
            axes.spines[["top", "right", "left"]].set_visible(False)
        for axes in list(grid.flat)[len(release.metrics) :]:
            axes.set_visible(False)
    return file.getvalue()


def sample(release: Release) -> bytes:
    """A contact sheet of the release's sample. A JPEG, with a ground of its own."""
    pairs = PairDataset(release.root.url, release.main_split, where={"key": release.sample}, columns=["restorer"])
    by_key = {pair["key"]: pair for pair in pairs}
    rows = [
        by_key[key]
        | {name: Image.fromarray(by_key[key][name]) for name in ("lq", "gt")}
        | {"restorer": plain(by_key[key]["restorer"], 40)}
        for key in release.sample
    ]
    file = io.BytesIO()
    contact_sheet(rows).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _bounds(release: Release) -> dict[str, list[float]]:
    """What the gate's rules for all degradations bound; nothing where the gate is of another make."""
    try:
        must = parse_toml(Path("gate"), release.gate).get("must", {})
    except ConfigError:
        return {}
    found = {}
    for metric, rule in must.items() if isinstance(must, dict) else ():
        limits = [rule.get(side) for side in ("min", "max")] if isinstance(rule, dict) else []
        found[str(metric)] = [float(x) for x in limits if isinstance(x, (int, float)) and math.isfinite(x)]
    return found


def _beside(axes: Axes, end: float, row: int, text: str) -> None:
    """What a bar stands for, to the right of its end."""
    axes.annotate(text, (end, row), (4, 0), textcoords="offset points", va="center_baseline")


def _bars(axes: Axes) -> None:
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


@contextlib.contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Figure, io.BytesIO]]:
    """A figure of so many inches, saved as it ends: the same PNG whatever the user's own settings of matplotlib are."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as fault:
        raise ConfigError("matplotlib is not installed: pip install 'ggt100k[report]'") from fault
    file = io.BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rc("font", size=11)
        matplotlib.rc("text", color=INK, parse_math=False)  # a stage's name is a text, not a formula
        matplotlib.rc("xtick", color=INK)
        matplotlib.rc("ytick", color=INK)
        matplotlib.rc("axes", labelcolor=INK, titlecolor=INK, edgecolor=FAINT, facecolor="none")
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, file
        figure.savefig(file, format="png", dpi=DPI, transparent=True, metadata={"Software": None})
