"""The verb calibrate."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.show import now, printable
from ggt_tools.errors import ConfigError
from ggt_tools.records import Aligned, Candidate, Photo
from ggt_tools.workspace.ledger import Ledger, write_whole

EXAMPLE = "ggt100k calibrate workspace --labels reviewed.csv --out fitted.toml"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path, help="Folder of the workspace.")
    sub.add_argument(
        "--labels",
        type=Path,
        required=True,
        help="CSV or JSON lines with the columns candidate or key, and decision (keep or reject).",
    )
    sub.add_argument("--out", type=Path, required=True, help="Gate file to write; it must not exist yet.")
    sub.add_argument("--gate", type=Path, help="Gate file to start from (default: the package's gate.toml).")
    sub.add_argument(
        "--false-accept",
        type=_rate,
        default=0.02,
        metavar="SHARE",
        help="Largest share of kept candidates that people reject (default: 0.02).",
    )
    sub.add_argument(
        "--plot",
        type=Path,
        metavar="PNG",
        help="Plot of precision, recall, ROC and reliability to write (default: OUT with .png).",
    )


def run(options: argparse.Namespace) -> int:
    import numpy as np

    from ggt_tools.policy.calibration import Labelled, calibrate, fitted_gate, plot
    from ggt_tools.policy.labels import labels, settled
    from ggt_tools.policy.verdicts import DEFAULT_GATE, load_gate

    picture = options.plot or options.out.with_suffix(".png")
    for path in (options.out, picture):
        if path.exists():
            raise ConfigError(f"{path}: is there already, and no file is written over; name another one")
        if not path.parent.is_dir():
            raise ConfigError(f"{path}: there is no such folder; make it first")
    gate = load_gate(options.gate or DEFAULT_GATE)
    with Ledger(options.workspace) as ledger:
        astray = {aligned.candidate for aligned in ledger.all(Aligned) if not aligned.image}
        all_keys = {c.id: c.key for c in ledger.all(Candidate)}
        keys = {c.id: c.key for c in ledger.all(Candidate) if c.image and c.id not in astray}
        seen = {photo.key: photo.degradations for photo in ledger.all(Photo)}
        scores = ledger.scores()
    lost = {name: key for name, key in all_keys.items() if name not in keys}
    found_labels = labels(options.labels, keys, lost)
    usable = found_labels.usable[: options.limit]
    decided, disputed = settled(usable)
    reasons = {label.candidate: label.reason for label in usable if label.decision == "reject" and label.reason}
    kept = np.array(list(decided.values()), bool)
    labelled = Labelled(
        gate,
        [seen[keys[name]] for name in decided],
        [scores.get(name, {}) for name in decided],
        kept,
        [keys[name] for name in decided],
        [reasons.get(name, "") for name in decided],
    )
    everything = Labelled(
        gate,
        [seen[key] for key in keys.values()],
        [scores.get(name, {}) for name in keys],
        np.ones(len(keys), bool),
        [],
    ).bounds(gate)
    if not len(kept):
        raise ConfigError(f"{options.labels}: as many people keep each candidate as reject it. Label others.")
    chosen = np.array([name in decided for name in keys], bool)
    found = calibrate(labelled, target=options.false_accept)
    text = fitted_gate(gate, found, now()[:10])
    image = plot(labelled, found)

    print(
        f"calibrate: {found.labels} labels, {kept.sum()} keep, {(~kept).sum()} reject, {disputed} disputed left out, "
        f"{found_labels.skipped} skipped whose candidates cannot be judged"
    )
    accepted = everything.margins(everything.limits) >= 0
    for name, there in (("that the gate keeps", accepted), ("of the others", ~accepted)):
        print(f"  labelled {(chosen & there).sum()} of {there.sum()} {name}")
    for name, outcome in (("present", found.present), ("fitted", found.fitted)):
        print(f"  {name:<8} false accepts {outcome.false_accepts}, keeps {outcome.kept} of what people keep")
    if not found.is_held_out:
        print("  all labels are of one photograph: no rate is of candidates that the fit did not have")
    if not found.enough:
        print(
            f"  {found.target:g} is not stated by these labels: the fitted gate keeps "
            f"{found.fitted.false_accepts.of} of them, and {found.needed} would state it (3 / {found.target:g}); the "
            "interval above is what they state"
        )
    if not found.held:
        print(f"  {found.target:g} is not held: no bound of this gate tells these labels apart; add a metric")
    for name in found.refitted:
        before, after = gate.decision[name].models, found.gate.decision[name].models
        moved = ", ".join(
            f"{a.name} {b.intercept:.2f} -> {a.intercept:.2f}" for b, a in zip(before, after, strict=True)
        )
        print(f"  decision of {name}: {moved}")
    for move in found.moves:
        print(f"  {'.'.join(move.bound.place)} {move.bound.limit:g} -> {move.limit:g}")
    if not found.moves and not found.refitted:
        print("  no bound is to be moved; nothing is written")
    elif not options.dry_run:
        write_whole(options.out, text.encode())
        write_whole(picture, image)
        print(f"  written: {printable(str(options.out))}, {printable(str(picture))}")
    return 0 if found.held else 1


def _rate(text: str) -> float:
    share = float(text)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return share
