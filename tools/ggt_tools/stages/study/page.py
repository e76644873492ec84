"""The page and the CSV table of a study. The page loads nothing; its inline script is that of the report."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ggt_tools.errors import ShardError
from ggt_tools.pages import environment, script_hash
from ggt_tools.stages.report import SCRIPT, SLIDER_STYLE
from ggt_tools.stages.report.figures import thumbnail
from ggt_tools.stages.study.plan import StudyPlan
from ggt_tools.stages.study.recommendation import CRITERION_NAMES
from ggt_tools.stages.study.result import ALL, CRITERIA, Interval, StudyResult, StudyRow

WIDTH, LINE = 300, 22  # pixels: width of a plot, and height of an entrant's line in it
SCALE_ENDS = {"fidelity": 1.0, "quality": 1.0, "vlm": 100.0, "preferred": 1.0}  # the end of each criterion's scale


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPicture:
    """One photograph of a study, with the restorations of its entrants.

    Attributes:
        degradation: Class of the photograph.
        key: Its key.
        image: Name of its image.
        restorations: Entrant, and name of its aligned image.
    """

    degradation: str
    key: str
    image: str
    restorations: tuple[tuple[str, str], ...]


def study_page(
    plan: StudyPlan,
    result: StudyResult,
    *,
    created: str,
    pictures: Sequence[StudyPicture] = (),
    image: Callable[[str], bytes] | None = None,
) -> str:
    """Return the page as HTML: pictures, the table, intervals drawn as SVG, and the recommendation.

    Args:
        plan: The plan of the study.
        result: Its result.
        created: The time that the page names.
        pictures: Photographs that are shown, with all restorations.
        image: Returns the file of an image by its name; None if there are no pictures.

    Raises:
        ConfigError: jinja2 is not installed.
    """
    overall = result.rows_of(ALL)
    template = environment(Path(__file__).parent).get_template("study.html")
    return template.render(
        plan=plan,
        result=result,
        created=created,
        names=CRITERION_NAMES,
        criteria=CRITERIA,
        plots=[(CRITERION_NAMES[criterion], _interval_plot(overall, criterion)) for criterion in CRITERIA],
        scatter=_scatter_plot(overall),
        format_interval=format_interval,
        usd=lambda value: "–" if math.isnan(value) else f"{value:.3f}",
        shade=_shade,
        pictures=[(picture, *_thumbnails(picture, image)) for picture in pictures] if image else [],
        entrants=[row.entrant for row in overall],
        script=SCRIPT,
        script_hash=script_hash(SCRIPT),
        slider_style=SLIDER_STYLE,
    )


def _thumbnails(picture: StudyPicture, image: Callable[[str], bytes]) -> tuple[str, list[tuple[str, str]]]:
    """Return data: URIs of a photograph and of each restoration; "" for an image that cannot be read."""

    def shown(name: str) -> str:
        try:
            return thumbnail(image(name))
        except (ShardError, OSError):
            return ""

    return shown(picture.image), [(entrant, shown(name)) for entrant, name in picture.restorations]


def _shade(row: StudyRow, criterion: str) -> int:
    """Return how dark a cell is, 0 to 9; -1 if there is no value."""
    value = getattr(row, criterion).value
    return -1 if math.isnan(value) else round(9 * value / SCALE_ENDS[criterion])


def format_interval(interval: Interval, criterion: str) -> str:
    """Return an interval on a scale of 0 to 100, for example "63 (51–74)"; "–" if nothing is known."""
    if math.isnan(interval.value):
        return "–"
    value, low, high = (100 * end / SCALE_ENDS[criterion] for end in (interval.value, interval.low, interval.high))
    return f"{value:.0f} ({low:.0f}–{high:.0f})"


def _interval_plot(rows: Sequence[StudyRow], criterion: str) -> dict[str, Any]:
    """Return the SVG coordinates of a plot with a line and a dot for each entrant."""
    lines = []
    for number, row in enumerate(rows):
        interval = getattr(row, criterion)
        if not math.isnan(interval.value):
            ends = (interval.low, interval.value, interval.high)
            lines.append({
                "entrant": row.entrant,
                "y": LINE * number + LINE // 2,
                "x": [f"{value / SCALE_ENDS[criterion] * WIDTH:.1f}" for value in ends],
                "text": format_interval(interval, criterion),
            })  # fmt: skip
    return {"lines": lines, "width": WIDTH, "height": LINE * len(rows), "names": [row.entrant for row in rows]}


def _scatter_plot(rows: Sequence[StudyRow]) -> list[dict[str, Any]]:
    """Return the SVG coordinates of a plot of preference over fidelity, for the entrants that have both."""
    return [
        {"entrant": row.entrant, "x": f"{row.fidelity.value * WIDTH:.1f}",
         "y": f"{(1 - row.preferred.value) * WIDTH:.1f}"}
        for row in rows
        if not math.isnan(row.fidelity.value + row.preferred.value)
    ]  # fmt: skip


def result_csv(result: StudyResult) -> str:
    """Return the table as CSV, with a row for each class and entrant; cells are empty if nothing is known."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    columns = [f"{criterion}{end}" for criterion in CRITERIA for end in ("", "_low", "_high")]
    writer.writerow(["degradation", "entrant", "photographs", "of", *columns, "choices", "usd"])
    for row in result.rows:
        intervals = [getattr(row, criterion) for criterion in CRITERIA]
        values = [value for interval in intervals for value in (interval.value, interval.low, interval.high)]
        *numbers, usd = ["" if math.isnan(value) else f"{value:.4f}" for value in (*values, row.usd)]
        writer.writerow([row.degradation, row.entrant, row.photographs, row.of, *numbers, row.choices, usd])
    return file.getvalue()
