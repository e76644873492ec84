"""Fit the gate to the labels of a file, and write the fitted gate and a plot of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ggt_tools.clock import utc_now
from ggt_tools.errors import ConfigError, check_limit
from ggt_tools.files.outputs import check_output_file
from ggt_tools.policy.bounds import Bools, read_bounds
from ggt_tools.policy.calibration import Calibration, LabelledCandidates, calibrate
from ggt_tools.policy.calibration_plot import plot
from ggt_tools.policy.fitted_gate import fitted_gate_text
from ggt_tools.policy.gate import Gate
from ggt_tools.policy.labels import LabelFile, majority, read_labels
from ggt_tools.policy.profiles import load_profile
from ggt_tools.records import Aligned, Candidate, Photo
from ggt_tools.summary import Summary
from ggt_tools.tables import printable
from ggt_tools.workspace.ledger import Ledger, write_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateConfig:
    """What the gate is fitted to, and where the result is written.

    Attributes:
        labels: CSV or JSON lines with the columns candidate or key, and decision (keep or reject).
        out: Gate file to write; it must not exist yet.
        gate: Gate to start from: a file, or the name of one of the package (offline, full). None for offline.
        false_accept: Largest share of kept candidates that people reject, between 0 and 1.
        plot: PNG to write, with precision, recall, ROC and reliability; None for `out` with the suffix .png.
        limit: Use at most this many labels.
        dry_run: Fit, and write nothing.
    """

    labels: Path
    out: Path
    gate: Path | None = None
    false_accept: float = 0.02
    plot: Path | None = None
    limit: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_limit(self.limit)
        if not 0 < self.false_accept < 1:
            raise ConfigError(f"--false-accept {self.false_accept:g}: is not between 0 and 1. Give a share like 0.02.")


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateResult:
    """What `run` fitted.

    Attributes:
        calibration: The fitted gate, and how reliable the fit is.
        text: Text of the fitted gate file.
        summary: Counts of labels, the rates and changes in words, and the files that were written.
    """

    calibration: Calibration
    text: str
    summary: Summary

    def __str__(self) -> str:
        return str(self.summary)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What a workspace holds of the candidates: keys by candidate, degradations by key, scores by candidate."""

    keys: dict[str, str]  # of candidates that can be judged
    unjudgeable: dict[str, str]  # keys of the others
    degradations: dict[str, tuple[str, ...]]
    scores: dict[str, dict[str, float]]


def run(workspace: Path, config: CalibrateConfig) -> CalibrateResult:
    """Fit the gate to labels, and write it unless nothing changes.

    Args:
        workspace: Folder of the workspace.
        config: The labels, the target and the files to write.

    Raises:
        ConfigError: A file to write exists, a label or the gate is wrong, or as many people keep each candidate as
            reject it.
    """
    plot_path = config.plot or config.out.with_suffix(".png")
    for path in (config.out, plot_path):
        check_output_file(path)
        if path.exists():
            raise ConfigError(f"{path}: this file exists, and no file is overwritten. Name another one.")
    gate = load_profile(config.gate)
    facts = _read_facts(workspace)
    file = read_labels(config.labels, facts.keys, facts.unjudgeable)
    labelled, candidates, disputed_count = _labelled(gate, facts, file, config)
    calibration = calibrate(labelled, target=config.false_accept)
    text = fitted_gate_text(gate, calibration, utc_now()[:10])
    image = plot(labelled, calibration)
    notes = [*_coverage_notes(gate, facts, candidates), *_notes(gate, calibration)]
    is_written = bool(calibration.changes or calibration.refitted_classes) and not config.dry_run
    if is_written:
        write_whole(config.out, text.encode())
        write_whole(plot_path, image)
        notes.append(f"  written: {printable(str(config.out))}, {printable(str(plot_path))}")
    summary = Summary(
        stage="calibrate",
        counts={
            "labels": calibration.label_count,
            "keep": int(labelled.is_kept.sum()),
            "reject": int((~labelled.is_kept).sum()),
            "disputed": disputed_count,
            "skipped": file.skipped,
        },
        notes=tuple(notes),
        paths=(str(config.out), str(plot_path)) if is_written else (),
        is_failed=not calibration.is_target_held,
    )
    return CalibrateResult(calibration=calibration, text=text, summary=summary)


def _read_facts(workspace: Path) -> _Facts:
    with Ledger(workspace) as ledger:
        not_aligned = {aligned.candidate for aligned in ledger.all(Aligned) if not aligned.image}
        candidates = list(ledger.all(Candidate))
        keys = {c.id: c.key for c in candidates if c.image and c.id not in not_aligned}
        return _Facts(
            keys=keys,
            unjudgeable={c.id: c.key for c in candidates if c.id not in keys},
            degradations={photo.key: photo.degradations for photo in ledger.all(Photo)},
            scores=ledger.scores(),
        )


def _labelled(
    gate: Gate, facts: _Facts, file: LabelFile, config: CalibrateConfig
) -> tuple[LabelledCandidates, set[str], int]:
    """Return the labelled candidates, their ids, and how many are left out because their labels are a tie."""
    labels = file.labels[: config.limit]
    is_kept, disputed_count = majority(labels)
    if not is_kept:
        raise ConfigError(f"{config.labels}: as many people keep each candidate as reject it. Label others.")
    reasons = {label.candidate: label.reason for label in labels if label.decision == "reject" and label.reason}
    labelled = LabelledCandidates(
        gate,
        [facts.degradations[facts.keys[name]] for name in is_kept],
        [facts.scores.get(name, {}) for name in is_kept],
        np.array(list(is_kept.values()), bool),
        [facts.keys[name] for name in is_kept],
        [reasons.get(name, "") for name in is_kept],
    )
    return labelled, set(is_kept), disputed_count


def _coverage_notes(gate: Gate, facts: _Facts, labelled: set[str]) -> Iterator[str]:
    """Say how many of the workspace's candidates are labelled, among those that the gate keeps and among the others."""
    degradations = [facts.degradations[key] for key in facts.keys.values()]
    all_bounds = read_bounds(gate, degradations, [facts.scores.get(name, {}) for name in facts.keys])
    is_kept: Bools = all_bounds.margins(all_bounds.limits) >= 0
    is_labelled = np.array([name in labelled for name in facts.keys], bool)
    for group, mask in (("that the gate keeps", is_kept), ("that it does not keep", ~is_kept)):
        yield f"  labelled {(is_labelled & mask).sum()} of the {mask.sum()} candidates {group}"


def _notes(gate: Gate, calibration: Calibration) -> Iterator[str]:
    """Say what the fit reaches, what the labels can show, and what changes."""
    for name, outcome in (("present", calibration.present), ("fitted", calibration.fitted)):
        yield f"  {name:<8} false accepts {outcome.false_accepts}, keeps {outcome.kept} of what people keep"
    target = f"{calibration.target:g}"
    if not calibration.is_held_out:
        yield "  all labels are of one photograph, so the rates are of candidates that the gate was fitted to"
    if not calibration.is_target_shown:
        yield (
            f"  the labels are too few to show a rate of {target}: the fitted gate keeps "
            f"{calibration.fitted.false_accepts.of} of them, and {calibration.needed_count} are needed (3 / {target}); "
            "the interval above is what they show"
        )
    if not calibration.is_target_held:
        yield f"  the fitted gate does not reach a rate of {target}: no bound separates these labels. Add a metric."
    for name in calibration.refitted_classes:
        before, after = gate.decision[name].models, calibration.gate.decision[name].models
        changes = (f"{a.name} {b.intercept:.2f} -> {a.intercept:.2f}" for b, a in zip(before, after, strict=True))
        yield f"  decision of {name}: {', '.join(changes)}"
    for change in calibration.changes:
        yield f"  {'.'.join(change.bound.path)} {change.bound.limit:g} -> {change.limit:g}"
    if not calibration.changes and not calibration.refitted_classes:
        yield "  no bound changes, so nothing is written"
