"""The verb pack."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from itertools import islice
from pathlib import Path

import ggt_format
from ggt_tools.cli import driving
from ggt_tools.cli.show import Bar, count, printable, table
from ggt_tools.errors import ConfigError
from ggt_tools.processes import uncollected
from ggt_tools.records import Held, Seen
from ggt_tools.workspace.ledger import Ledger

EXAMPLE = "ggt100k pack workspace ggt-100k --version 1.1.0 --base ggt-100k"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path, help="Folder of the workspace.")
    sub.add_argument(
        "out",
        type=Path,
        nargs="?",
        default=Path(ggt_format.NAME),
        help=f"Folder of the release (default: {ggt_format.NAME}).",
    )
    sub.add_argument("--version", default="1.0.0", help="Version of the dataset (default: 1.0.0).")
    sub.add_argument(
        "--base",
        default="",
        metavar="PREVIOUS",
        help="The previous release, a folder or URL, which may be OUT: shards whose pairs did not change are kept byte "
        "for byte.",
    )
    sub.add_argument(
        "--test",
        type=float,
        help="Number of pairs in the test split, at most a tenth of all pairs; below 1, their share. It is drawn "
        "once for a workspace, from pairs that no earlier release contained (default: 500).",
    )
    sub.add_argument(
        "--priors",
        action="store_true",
        help="Add outputs that were rejected for their frame alone, as visual priors in shards of their own; without "
        "this option, those of the base are removed.",
    )
    sub.add_argument(
        "--codec",
        default="png",
        choices=ggt_format.CODECS,
        help="Image format; jpeg has a third of the size (default: png).",
    )
    sub.add_argument(
        "--shard-bytes",
        type=count,
        default=500_000_000,
        metavar="BYTES",
        help="Largest size of a shard (default: 500000000).",
    )
    driving.arguments(sub)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.pack import PackConfig, Plan, check_place, claim, plan_release, write
    from ggt_tools.stages.pack.priors import priors
    from ggt_tools.stages.pack.splits import note_stood, stood

    config = PackConfig(
        version=options.version, test=options.test, shard_bytes=options.shard_bytes, codec=options.codec,
        base=options.base, processes=options.workers or 0,
    )  # fmt: skip
    with Ledger(options.workspace.absolute()) as ledger:  # who writes a shard elsewhere looks for it in another folder
        with uncollected():
            approved = list(ledger.pairs())
        keys = {pair.photo.key for pair in approved}
        pairs = list(islice(approved, options.limit))
        withdrawn = ledger.withdrawn()
        check_place(options.out)
        gates = ledger.gates()
        if len(gates) > 1:
            raise ConfigError(f"{options.workspace}: judged by more than one gate; run verdict without --limit")
        gate = ledger.gate_text(*gates)
        held = {each.key for each in ledger.all(Held)}
        before = stood(options.workspace)
        # by key: a licence is the photograph's, whoever restores it
        stays = ledger.must_stay()
        looks = {seen.key: seen.phash for seen in ledger.all(Seen) if not seen.place}
        beside = list(islice(priors(ledger), options.limit)) if options.priors else []

        def planned() -> Plan:
            gone = withdrawn.keys() | {key for (key,) in ledger.query("SELECT key FROM photo") if key not in keys}
            with uncollected():
                return plan_release(
                    pairs, ledger.images, config, gate=gate, priors=beside, gone=gone, held=held, stood=before,
                    looks=looks, where=str(options.out),
                )  # fmt: skip

        if options.dry_run:
            plan = planned()
            of = ", ".join(f"{count} {name}" for name, count in plan.counts.items())
            if any(plan.priors.values()):
                of += "; priors: " + ", ".join(f"{count} {name}" for name, count in plan.priors.items())
            kept = sum(job.keeps for job in plan.shards)
            sizes = Counter[bool]()
            for job in plan.shards:
                sizes[job.of_priors] += len(job.pairs) + len(job.rows)
            along = f" and {sizes[True]} priors" if sizes[True] else ""
            print(
                f"would pack {sizes[False]} pairs{along} into {options.out}: "
                f"{of}; {len(plan.shards) - kept} shards written, {kept} unchanged"
            )
            if not plan.test and options.test != 0:
                print(printable(_without_test(options, sizes[False], earlier=bool(before) or plan.base is not None)))
            return 0
        cluster = driving.cluster(options, "pack", ledger.store.root)
        with claim(options.out) as out:
            plan = planned()
            if not plan.test:
                note_stood(options.workspace, (key for job in plan.shards for key in job.keys))
            elif options.limit is None:  # a part of the pairs draws for itself alone
                ledger.add(*(Held(key=key, version=config.version) for key in sorted(plan.test - held)))
            total = sum(len(job.pairs) + len(job.rows) for job in plan.shards)
            packed = sum(len(job.pairs) + len(job.rows) for job in plan.shards if not job.of_priors)
            with Bar(total, "pack") as bar:
                own = plan.drawn and plan.test and options.limit is not None
                trial = "packed with --limit, with a test split of its own" if own else ""
                manifest, done = write(
                    plan, out, config, gate=gate, funnel=ledger.funnel(), stays=stays, trial=trial, cluster=cluster,
                    progress=bar.update,
                )  # fmt: skip
    for fault in plan.refused:
        print(f"{fault.reason}: {printable(str(fault))}")
    if not plan.test and options.test != 0:
        print(printable(_without_test(options, packed, earlier=bool(before) or plan.base is not None)))
    if plan.left_out:
        print(f"not in the base, so without a column: {', '.join(plan.left_out)}; they come with a pack without --base")
    counts = {split: about["pairs"] for split, about in ggt_format.indices(manifest).items()}
    refused = Counter(fault.reason for fault in plan.refused)
    table("pack", {**counts, "shards": len(done)}, refused=refused)
    if why := manifest.get("local_only"):
        print(f"it must stay on this machine: {printable(why)}")
    if plan.base is not None:
        kept = sum(shard.kept for shard in done)
        table("since the base", {**plan.counts, "shards written": len(done) - kept, "shards unchanged": kept})
        if any(plan.priors.values()):
            table("priors since the base", dict(plan.priors))
        if plan.priors["gone"] and not options.priors:
            print("without --priors none goes along: those of the base have left")
    return 0


def _without_test(options: argparse.Namespace, pairs: int, *, earlier: bool) -> str:
    """What `pack` says where no pair is in a test split, in two sentences: why that is, and what to type.

    Args:
        options: Of the command line.
        pairs: Number of pairs that are packed.
        earlier: Whether earlier releases, without a test split, had pairs of this workspace or of the base.
    """
    from ggt_tools.stages.pack.splits import MOST, STOOD, TEST

    test = TEST if options.test is None else options.test
    share = 0.3 if int(0.3 * pairs) else 0.5
    note = options.workspace / STOOD
    version = [] if options.version == "1.0.0" else ["--version", options.version]
    argv = ["ggt100k", "pack", str(options.workspace), str(options.out), *version, "--test", str(share)]
    command = shlex.join(argv)
    delete = f"delete {note} and type" if note.exists() else "type"
    verb = "would be" if options.dry_run else "are"
    if pairs < 2:
        return (
            "The one pair is in the train split, since one pair cannot be divided. Add photographs to the workspace, "
            "then pack again."
        )
    if earlier:
        return (
            f"All {pairs} pairs {verb} in the train split, since an earlier release without a test split had them and "
            f"models may be trained on them. If no model was, {delete}: {command}"
        )
    if test >= 1 and pairs < MOST:
        why = f"a test split takes at most a tenth of the pairs and so needs {MOST} of them"
    elif test < 1 and int(test * pairs) < 1:
        why = f"--test {test:g} of {pairs} pairs is less than one pair"
    else:
        why = "each pair that could be drawn for a test split looks like another one"
        return f"All {pairs} pairs {verb} in the train split, since {why}. Add other photographs, then pack again."
    in_train = f"All {pairs} pairs {verb} in the train split"
    return f"{in_train}, since {why}. To have a test split all the same, {delete}: {command}"
