"""The page of a study: the table, intervals drawn as SVG, the recommendation. No script, nothing from outside."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ggt_tools.pages import environment
from ggt_tools.stages.study import ALL, CRITERIA, NAMES, Interval, Result, Row
from ggt_tools.stages.study.plan import Plan

WIDTH, LINE = 300, 22  # pixels of a plot, and of an entrant's line in it
FULL = {"fidelity": 1.0, "quality": 1.0, "vlm": 100.0, "preferred": 1.0}  # the end of each criterion's scale


def page(plan: Plan, found: Result, *, created: str) -> str:
    """The page as HTML. ConfigError: jinja2 is not installed."""
    everything = found.of(ALL)
    return (
        environment(Path(__file__).parent)
        .get_template("study.html")
        .render(
            plan=plan,
            found=found,
            created=created,
            names=NAMES,
            criteria=CRITERIA,
            plots=[(NAMES[criterion], intervals(everything, criterion)) for criterion in CRITERIA],
            scatter=scatter(everything),
            shown=shown,
            usd=lambda value: "–" if math.isnan(value) else f"{value:.3f}",
            classes=[name for name in found.degradations if name != ALL],
            cell=lambda row, criterion: (
                round(9 * getattr(row, criterion).value / FULL[criterion])
                if not math.isnan(getattr(row, criterion).value)
                else -1
            ),
        )
    )


def shown(interval: Interval, criterion: str) -> str:
    """ "63 (51–74)": in hundredths, but for what is 0 to 100 anyway."""
    if math.isnan(interval.value):
        return "–"
    value, low, high = (100 * one / FULL[criterion] for one in (interval.value, interval.low, interval.high))
    return f"{value:.0f} ({low:.0f}–{high:.0f})"


def intervals(rows: Sequence[Row], criterion: str) -> dict[str, Any]:
    """A line an entrant: its interval and a dot."""
    lines = []
    for at, row in enumerate(rows):
        one = getattr(row, criterion)
        if not math.isnan(one.value):
            x = [f"{value / FULL[criterion] * WIDTH:.1f}" for value in (one.low, one.value, one.high)]
            lines.append({"entrant": row.entrant, "y": LINE * at + LINE // 2, "x": x, "text": shown(one, criterion)})
    return {"lines": lines, "width": WIDTH, "height": LINE * len(rows), "names": [row.entrant for row in rows]}


def scatter(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Fidelity to the right, preference upwards, for those that have both; 0 to 1 each."""
    return [
        {"entrant": row.entrant, "x": f"{row.fidelity.value * WIDTH:.1f}",
         "y": f"{(1 - row.preferred.value) * WIDTH:.1f}"}
        for row in rows
        if not math.isnan(row.fidelity.value + row.preferred.value)
    ]  # fmt: skip


def table(found: Result) -> str:
    """The table as CSV: a row a class and entrant; empty where nothing is known."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    spread = [f"{criterion}{end}" for criterion in CRITERIA for end in ("", "_low", "_high")]
    writer.writerow(["degradation", "entrant", "photographs", "of", *spread, "choices", "usd"])
    for row in found.rows:
        values = [
            value
            for criterion in CRITERIA
            for one in [getattr(row, criterion)]
            for value in (one.value, one.low, one.high)
        ]
        numbers = ["" if math.isnan(value) else f"{value:.4f}" for value in (*values, row.usd)]
        writer.writerow([
            row.degradation, row.entrant, row.photographs, row.of, *numbers[:-1], row.choices, numbers[-1],
        ])  # fmt: skip
    return file.getvalue()
