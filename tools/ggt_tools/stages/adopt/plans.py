"""What a dry run shows: pairs, classes, splits, licences and what is not matched, as tables and as CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator

from ggt_tools.stages.adopt import ExternalPair, PairOptions
from ggt_tools.stages.adopt.matching import Unmatched
from ggt_tools.tables import format_table

SHOWN_PAIRS = 20  # that a dry run prints; the CSV file has all
SHOWN_WARNINGS = 20  # for each reason
COLUMNS = (
    *("status", "original", "output", "reference", "class", "split", "licence", "may_be_pushed", "restorer", "prompt"),
    *("reason", "detail"),
)


def plan_lines(pairs: Iterable[ExternalPair], options: PairOptions) -> Iterator[str]:
    """Yield the lines of a dry run: the first pairs, and a table of all by class and split."""
    counts: Counter[tuple[str, str]] = Counter()
    for number, pair in enumerate(pairs):
        if number < SHOWN_PAIRS:
            yield _describe(pair)
        counts[pair.degradation or options.degradation, pair.split or "train"] += 1
    total = counts.total()
    if total > SHOWN_PAIRS:
        yield f"  and {total - SHOWN_PAIRS} more pairs: --csv FILE lists them all"
    rows = [
        [degradation, split, str(count), options.licence, "no" if options.local_only else "yes"]
        for (degradation, split), count in sorted(counts.items())
    ]
    if rows:
        yield from format_table(("class", "split", "pairs", "licence", "may be pushed"), rows)
    local_only = f"; local only: {options.local_only}" if options.local_only else ""
    yield f"would adopt {total} pairs as {options.name} by {options.restorer}, {options.degradation}"
    yield f"licence {options.licence}{local_only}"


def plan_csv(pairs: Iterable[ExternalPair], unmatched: Iterable[Unmatched], options: PairOptions) -> str:
    """Return a CSV table with a row for each pair and each image that is not matched."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    may_be_pushed = "no" if options.local_only else "yes"
    for pair in pairs:
        writer.writerow(
            (
                *("pair", pair.name, pair.output, "yes" if pair.ref else "no", pair.degradation or options.degradation),
                *(pair.split or "train", options.licence, may_be_pushed, pair.restorer or options.restorer),
                *(pair.prompt, "", pair.lacks),
            )
        )
    for image in unmatched:
        writer.writerow(("unmatched", image.name, *[""] * 8, image.reason, image.detail))
    return file.getvalue()


def warnings_of(unmatched: Iterable[Unmatched]) -> Iterator[str]:
    """Yield a message for each image that is not matched, but for a reason that many have only the first ones."""
    shown: Counter[str] = Counter()
    for image in unmatched:
        shown[image.reason] += 1
        if shown[image.reason] <= SHOWN_WARNINGS:
            yield f"{image.reason}: {image.detail}"
    for reason, count in shown.items():
        if count > SHOWN_WARNINGS:
            yield (
                f"{reason}: {count - SHOWN_WARNINGS} more images have this reason. List them all: --dry-run --csv FILE"
            )


def _describe(pair: ExternalPair) -> str:
    degradation = f", {pair.degradation}" if pair.degradation else ""
    split = f", {pair.split}" if pair.split else ""
    reference = ", with its true gt" if pair.ref else f", {pair.lacks}" if pair.lacks else ""
    return f"  {pair.name} <- {pair.output}{degradation}{split}{reference}"
