"""The entry of a version in the change log."""

from __future__ import annotations

import re

from ggt_tools.stages.diff import Change, Diff

MAX_CHANGES = 20  # changed pairs that an entry names by key; more are counted
HEADING = re.compile(r"^## (?P<version>\d+\.\d+\.\d+)\b.*$", re.MULTILINE)


def changelog_entry(difference: Diff, day: str) -> str:
    """Return the entry as Markdown. It names all withdrawn keys, for people who have trained on them.

    Args:
        difference: What changed since the earlier version.
        day: The day of the release, ISO 8601.
    """
    added, withdrawn, changed = map(len, (difference.added, difference.withdrawn, difference.changed))
    lines = [
        f"## {difference.after}, {day}",
        "",
        f"Since {difference.before}: {added} pairs added, {withdrawn} withdrawn, {changed} changed; "
        f"{difference.pairs} pairs in all.",
    ]
    counts = difference.counts()
    if counts:
        lines += ["", "| degradation | added | withdrawn | changed |", "| --- | ---: | ---: | ---: |"]
        lines += [f"| {name} | {a} | {w} | {c} |" for name, (a, w, c) in counts.items()]
    notes = _notes(difference)
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def _notes(difference: Diff) -> list[str]:
    """Return the items of the list below the table."""
    notes = []
    if difference.metrics_added:
        notes.append(f"- New scores: {', '.join(difference.metrics_added)}.")
    if difference.metrics_dropped:
        notes.append(f"- Scores no longer given: {', '.join(difference.metrics_dropped)}.")
    before, after = difference.codec
    if before != after:
        notes.append(f"- Images are {after}, and were {before}; their pixels were not compared.")
    if any(difference.priors[:3]):
        added, withdrawn, changed, total = difference.priors
        counts = f"{added} added, {withdrawn} withdrawn, {changed} changed; {total} in all"
        notes.append(f"- Visual priors, which are no pairs: {counts}.")
    if difference.withdrawn:
        notes.append(f"- Withdrawn: {', '.join(f'`{location.key}`' for location in difference.withdrawn)}.")
    if difference.changed:
        notes.append(f"- Changed in: {', '.join(f'{name} {count}' for name, count in difference.fields().items())}.")
        notes += [f"  - {_describe(change)}" for change in difference.changed[:MAX_CHANGES]]
        if len(difference.changed) > MAX_CHANGES:
            notes.append(f"  - and {len(difference.changed) - MAX_CHANGES} more")
    return notes


def _describe(change: Change) -> str:
    scores = [f"{metric} {a:.3g} -> {b:.3g}" for metric, a, b in change.scores]
    return f"`{change.after.key}`: {', '.join([*change.fields, *scores])}"


def insert_entry(log: str, entry: str) -> str:
    """Return a change log with an entry: instead of the one of the same version, else above all others.

    Args:
        log: The change log; "" for a new one.
        entry: What `changelog_entry` returned.
    """
    heading = HEADING.match(entry)
    assert heading is not None, "an entry begins with its heading"
    headings = [*HEADING.finditer(log)]
    preamble = log[: headings[0].start()] if headings else log
    ends = [*(match.start() for match in headings[1:]), len(log)]
    entries = [
        (match["version"], log[match.start() : end].rstrip() + "\n")
        for match, end in zip(headings, ends if headings else [], strict=True)
    ]
    versions = [version for version, _ in entries]
    new = (heading["version"], entry)
    if heading["version"] in versions:
        entries[versions.index(heading["version"])] = new
    else:
        entries.insert(0, new)
    return "\n".join([(preamble.strip() or "# Change log") + "\n", *(text for _, text in entries)])
