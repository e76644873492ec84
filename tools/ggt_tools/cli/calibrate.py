"""The verb calibrate."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.show import now, printable
from ggt_tools.errors import ConfigError
from ggt_tools.ledger import Ledger, write_whole
from ggt_tools.records import Aligned, Candidate, Photo

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
        "--plot", type=Path, metavar="PNG", help="Plot of precision and recall to write (default: OUT with .png)."
    )


def run(options: argparse.Namespace) -> int:
    import numpy as np

    from ggt_tools.calibrate import calibrate, fitted_gate, plot
    from ggt_tools.gate.bounds import bounds
    from ggt_tools.gate.labels import labels, settled
    from ggt_tools.verdict import DEFAULT_GATE, load_gate

    picture = options.plot or options.out.with_suffix(".png")
    for path in (options.out, picture):
        if path.exists():
            raise ConfigError(f"{path}: is there already, and no file is written over; name another one")
        if not path.parent.is_dir():
            raise ConfigError(f"{path}: there is no such folder; make it first")
    gate = load_gate(options.gate or DEFAULT_GATE)
    with Ledger(options.workspace) as ledger:
        astray = {aligned.candidate for aligned in ledger.all(Aligned) if not aligned.image}
        keys = {c.id: c.key for c in ledger.all(Candidate) if c.image and c.id not in astray}
        seen = {photo.key: photo.degradations for photo in ledger.all(Photo)}
        scores = ledger.scores()
    decided, disputed = settled(labels(options.labels, keys)[: options.limit])
    everything = bounds(gate, [seen[key] for key in keys.values()], [scores.get(name, {}) for name in keys])
    chosen = np.array([name in decided for name in keys], bool)
    labelled, kept = everything.of(chosen), np.array([decided[name] for name in keys if name in decided], bool)
    found = calibrate(labelled, kept, [keys[name] for name in keys if name in decided], target=options.false_accept)
    text = fitted_gate(gate, found, now()[:10])
    image = plot(labelled, kept, found)

    print(f"calibrate: {found.labels} labels, {kept.sum()} keep, {(~kept).sum()} reject, {disputed} disputed left out")
    accepted = everything.margins(everything.limits) >= 0
    for name, there in (("that the gate keeps", accepted), ("of the others", ~accepted)):
        print(f"  labelled {(chosen & there).sum()} of {there.sum()} {name}")
    for name, outcome in (("present", found.present), ("fitted", found.fitted)):
        print(f"  {name:<8} false accepts {outcome.false_accepts}, keeps {outcome.kept} of what people keep")
    if not found.enough:
        print(
            f"  too few labels to state {found.target:g}: the gate keeps {found.fitted.false_accepts.of} of them, and "
            f"{found.needed} are needed (3 / {found.target:g}); nothing is loosened"
        )
    if not found.held:
        print(f"  {found.target:g} is not held: no bound of this gate tells these labels apart; add a metric")
    for move in found.moves:
        print(f"  {'.'.join(move.bound.place)} {move.bound.limit:g} -> {move.limit:g}")
    if not found.moves:
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
