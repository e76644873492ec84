"""The figures of a card: PNGs with a transparent background, in colours that are legible on white and on dark pages."""

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
from ggt_tools.imaging.contact_sheet import Tile, contact_sheet
from ggt_tools.policy.evidence_words import strongest_lines
from ggt_tools.stages.card.release import Release
from ggt_tools.stages.card.text import plain
from ggt_tools.toml import parse_toml

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Contrast (WCAG 2.2, 1.4.3 and 1.4.11) on white and on the Hub's dark background: at least 4.2 of texts, 3 of fills.
INK, FAINT = "#787878", "#8a8a8a"
FILLS = ("#3b82f6", "#d9730d", "#2e9e5b")
DPI = 160
BINS = 8, 30  # smallest and largest number of bars of a histogram
COLUMNS = 4  # histograms in a row
QUALITY = 85  # of the JPEG


def composition(release: Release) -> bytes:
    """Draw a bar for each degradation: its pairs, by kind of source."""
    names = release.degradations
    with _figure(9.0, 0.8 + 0.34 * len(names)) as (figure, file):
        axes = figure.subplots()
        lengths = np.zeros(len(names))
        for (kind, numbers), fill in zip(release.kinds.items(), FILLS, strict=False):
            axes.barh(names, numbers, left=lengths, color=fill, label=kind, height=0.68)
            lengths += numbers
        for row, total in enumerate(lengths):
            _label_bar(axes, total, row, f"{total:,.0f}")
        axes.set_xlim(0, lengths.max() * 1.1)
        _style_bars(axes)
        # a fixed position above the bars, where it covers nothing
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0)
    return file.getvalue()


def funnel(release: Release) -> bytes:
    """Draw two bars for each stage: the photographs that entered it, and those that left it."""
    stages = release.funnel
    with _figure(9.0, 0.8 + 0.42 * len(stages)) as (figure, file):
        axes = figure.subplots()
        rows = np.arange(len(stages))
        entered, left = [stage.entered for stage in stages], [stage.left for stage in stages]
        axes.barh(rows, entered, color="none", edgecolor=FAINT, linewidth=1, height=0.68, label="entered")
        axes.barh(rows, left, color=FILLS[0], height=0.68, label="left")
        for row, stage in enumerate(stages):
            _label_bar(axes, max(stage.entered, stage.left), row, f"{stage.left:,} of {stage.entered:,}")
        axes.set_yticks(rows, [plain(stage.stage, 24) for stage in stages])
        axes.set_xlim(0, max(*entered, *left, 1) * 1.16)
        _style_bars(axes)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0)
    return file.getvalue()


def scores(release: Release) -> bytes:
    """Draw a histogram of each metric over all pairs; dashed lines are the gate's bounds for all degradations."""
    bounds = gate_bounds(release)
    rows = math.ceil(len(release.metrics) / COLUMNS)
    with _figure(10.0, 1.6 * rows) as (figure, file):
        grid = figure.subplots(rows, COLUMNS, squeeze=False)
        for axes, metric in zip(grid.flat, release.metrics, strict=False):
            values = release.values(metric).astype(np.float64)
            measured = values[np.isfinite(values)]
            drawn = [*(np.percentile(measured, [0.5, 99.5]) if measured.size else ()), *bounds.get(metric, ())]
            low, high = (min(drawn), max(drawn)) if drawn else (0.0, 1.0)
            margin = 0.03 * (high - low) or max(abs(low), 1.0) * 0.05
            low, high = low - margin, high + margin
            bins = int(np.clip(2 * math.sqrt(measured.size), *BINS))
            axes.hist(np.clip(measured, low, high), bins, range=(low, high), color=FILLS[0])
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
    """Draw a contact sheet of the release's sample: a JPEG, with a background."""
    columns = ["restorer", "evidence"]
    pairs = PairDataset(release.root.url, release.main_split, where={"key": release.sample}, columns=columns)
    by_key = {pair["key"]: pair for pair in pairs}
    tiles = [
        Tile(
            lq=Image.fromarray(pair["lq"]),
            gt=Image.fromarray(pair["gt"]),
            heading=pair["degradation"].replace("_", " "),
            numbers=[words.short for words in strongest_lines(pair["evidence"])],
            note=plain(pair["restorer"], 40),
        )
        for pair in (by_key[key] for key in release.sample)
    ]
    file = io.BytesIO()
    contact_sheet(tiles, sides="left: photograph (LQ), right: restoration (GT)").save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def gate_bounds(release: Release) -> dict[str, list[float]]:
    """Return the bounds of the gate's rules for all degradations; nothing where the gate cannot be read."""
    try:
        must = parse_toml(Path("gate"), release.gate).get("must", {})
    except ConfigError:
        return {}
    bounds = {}
    for metric, rule in must.items() if isinstance(must, dict) else ():
        limits = [rule.get(side) for side in ("min", "max")] if isinstance(rule, dict) else []
        bounds[str(metric)] = [float(x) for x in limits if isinstance(x, (int, float)) and math.isfinite(x)]
    return bounds


def _label_bar(axes: Axes, end: float, row: int, text: str) -> None:
    """Write a text to the right of the end of a bar."""
    axes.annotate(text, (end, row), (4, 0), textcoords="offset points", va="center_baseline")


def _style_bars(axes: Axes) -> None:
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


@contextlib.contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Figure, io.BytesIO]]:
    """Open a figure, sized in inches, and save it at the end. The user's own settings of matplotlib are not used."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as fault:
        raise ConfigError("matplotlib is not installed. Install it: pip install 'ggt100k[report]'") from fault
    file = io.BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rc("font", size=11)
        matplotlib.rc("text", color=INK, parse_math=False)  # the name of a stage is no formula
        matplotlib.rc("xtick", color=INK)
        matplotlib.rc("ytick", color=INK)
        matplotlib.rc("axes", labelcolor=INK, titlecolor=INK, edgecolor=FAINT, facecolor="none")
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, file
        figure.savefig(file, format="png", dpi=DPI, transparent=True, metadata={"Software": None})
