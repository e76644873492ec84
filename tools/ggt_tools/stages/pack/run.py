"""Pack the pairs of a workspace that the gate keeps."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import ggt_format
from ggt_format.schema import PRIOR
from ggt_tools.errors import ConfigError
from ggt_tools.events import SILENT, Events
from ggt_tools.executors import LOCAL, ExecutorConfig, open_cluster
from ggt_tools.processes import garbage_collection_paused
from ggt_tools.records import HeldOutPair, PackedPair, Pair, PerceptualHash
from ggt_tools.stages.pack import (
    PackConfig,
    ReleasePlan,
    check_folder,
    lock_folder,
    plan_release,
    write_release,
)
from ggt_tools.stages.pack.flags import count_flags
from ggt_tools.stages.pack.folder import check_replaced
from ggt_tools.stages.pack.judged import JudgedPhoto, judged_photos
from ggt_tools.stages.pack.priors import priors
from ggt_tools.stages.pack.splits import PAIRS_PER_TEST_PAIR, TEST_SIZE
from ggt_tools.stages.pack.writing import WrittenShard
from ggt_tools.summary import Summary
from ggt_tools.workspace.ledger import Ledger

DEFAULT_VERSION = "1.0.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What the workspace gives to a release.

    Attributes:
        pairs: Pairs that the gate keeps, up to the limit.
        priors: Visual priors, up to the limit.
        judged: Photographs with rejected candidates, up to the limit.
        removed: Keys of photographs that must not be in the release.
        gate: Text of the gate.
        test_keys: Keys of the test split that was drawn before.
        published_keys: Keys of pairs in earlier releases that had no test split.
        restrictions: By key, why a photograph may not be passed on, whichever restorer was used.
        phashes: Perceptual hashes of the photographs, by key.
    """

    pairs: Sequence[Pair]
    priors: Sequence[Pair]
    judged: Sequence[JudgedPhoto]
    removed: frozenset[str]
    gate: str
    test_keys: frozenset[str]
    published_keys: frozenset[str]
    restrictions: Mapping[str, str]
    phashes: Mapping[str, str]


def run(
    workspace: Path, out: Path, config: PackConfig, *, executor: ExecutorConfig = LOCAL, events: Events = SILENT
) -> Summary:
    """Write a release of the pairs that the gate keeps. A run that was killed is continued.

    Args:
        workspace: Folder of the workspace.
        out: Folder of the release. One that is there is replaced when the new one is complete.
        config: What the release is to be.
        executor: Where the shards are written.
        events: Receives progress, and of pairs that are left out.

    Returns:
        The numbers of pairs by split, and of shards; notes on the test split, the base and the visual priors.

    Raises:
        ConfigError: There is nothing to pack, or the folder or the base cannot be used.
        PairError: A pair cannot be packed.
        ShardError: The base is damaged, or a shard could not be written on the cluster.
    """
    # absolute: who writes a shard elsewhere has another working directory
    with Ledger(workspace.absolute()) as ledger:
        source = _read_source(ledger, workspace, out, config)
        if config.dry_run:
            plan = _plan(source, ledger, config, out)
            return Summary(stage="pack", plan=tuple(_describe(plan, source, workspace, out, config)))
        cluster = open_cluster(executor, "pack", ledger.store.root, events)
        with lock_folder(out) as folder:
            plan = _plan(source, ledger, config, out)
            _record_split(plan, source, ledger, config)
            for fault in plan.refused:
                events.warning(f"{fault.reason}: {fault}")
            photo_count = sum(len(job.photos) for job in plan.preferences)
            with events.progress("pack", sum(job.count for job in plan.shards) + photo_count) as progress:
                is_trial = plan.is_drawn and plan.test and config.limit is not None
                manifest, shards = write_release(
                    plan,
                    folder,
                    config,
                    gate=source.gate,
                    funnel=ledger.funnel(),
                    restrictions=source.restrictions,
                    flags=_count_flags(ledger, plan),
                    trial="packed with --limit, with a test split of its own" if is_trial else "",
                    processes=executor.workers or 0,
                    cluster=cluster,
                    progress=progress.advance,
                )
    counts = {split: about["pairs"] for split, about in ggt_format.indices(manifest).items()}
    return Summary(
        stage="pack",
        counts={**counts, **_preference_counts(manifest), "shards": len(shards)},
        reasons={"refused": Counter(fault.reason for fault in plan.refused)},
        notes=tuple(_notes(plan, source, workspace, out, config, manifest, shards)),
        paths=(str(out),),
    )


def _count_flags(ledger: Ledger, plan: ReleasePlan) -> dict[str, Any]:
    jobs = [job for job in plan.shards if not job.of_priors]
    keys = {key for job in jobs for key in job.keys}
    pairs = [pair for job in jobs for pair in (*job.pairs.values(), *job.approved.values())]
    return count_flags(ledger, keys, {pair.candidate.id for pair in pairs})


def _preference_counts(manifest: Mapping[str, Any]) -> dict[str, int]:
    about = manifest.get("preferences")
    return {"photographs with preferences": about["photographs"]} if about else {}


def _read_source(ledger: Ledger, workspace: Path, out: Path, config: PackConfig) -> _Source:
    """Read what the workspace gives to a release.

    Raises:
        ConfigError: `out` holds other files, or more than one gate has judged the candidates.
    """
    with garbage_collection_paused():
        approved = list(ledger.pairs())
    check_folder(out)
    if not config.base:
        check_replaced(out, config.version, ledger.photo_keys())
    gates = ledger.gates()
    if len(gates) > 1:
        raise ConfigError(
            f"{workspace}: the candidates were judged by more than one gate. Judge all by one: "
            f"ggt100k verdict {workspace} --gate GATE"
        )
    keys = {pair.photo.key for pair in approved}
    packed_keys = frozenset(packed.key for packed in ledger.all(PackedPair))
    return _Source(
        pairs=list(islice(approved, config.limit)),
        priors=list(islice(priors(ledger), config.limit)) if config.priors else [],
        judged=list(islice(judged_photos(ledger), config.limit)) if config.preferences else [],
        removed=frozenset(ledger.withdrawn().keys() | (ledger.photo_keys() - keys)),
        gate=ledger.gate_text(*gates),
        test_keys=frozenset(held.key for held in ledger.all(HeldOutPair)),
        published_keys=frozenset() if config.forget_packed else packed_keys,
        restrictions=ledger.must_stay(),
        phashes={seen.key: seen.phash for seen in ledger.all(PerceptualHash) if not seen.split},
    )


def _plan(source: _Source, ledger: Ledger, config: PackConfig, out: Path) -> ReleasePlan:
    with garbage_collection_paused():
        return plan_release(
            source.pairs,
            ledger.images,
            config,
            gate=source.gate,
            priors=source.priors,
            judged=source.judged,
            removed=source.removed,
            test_keys=source.test_keys,
            published_keys=source.published_keys,
            phashes=source.phashes,
            out=str(out),
        )


def _record_split(plan: ReleasePlan, source: _Source, ledger: Ledger, config: PackConfig) -> None:
    """Record the test split or, where there is none, which pairs models may be trained on from now on."""
    if not plan.test:
        ledger.add(*(PackedPair(key=key) for key in sorted({key for job in plan.shards for key in job.keys})))
    elif config.limit is None:  # a part of the pairs draws a test split for itself alone
        new_keys = sorted(plan.test - source.test_keys)
        ledger.add(*(HeldOutPair(key=key, version=config.version) for key in new_keys))


def _describe(plan: ReleasePlan, source: _Source, workspace: Path, out: Path, config: PackConfig) -> list[str]:
    """Return the sentences of a dry run."""
    changes = _join(plan.counts)
    if any(plan.priors.values()):
        changes += f"; priors: {_join(plan.priors)}"
    unchanged_count = sum(job.is_unchanged for job in plan.shards)
    prior_count = plan.size(of_priors=True)
    and_priors = f" and {prior_count} priors" if prior_count else ""
    if photo_count := sum(len(job.photos) for job in plan.preferences):
        and_priors += f" and the candidates of {photo_count} photographs as preferences"
    return [
        f"would pack {plan.size(of_priors=False)} pairs{and_priors} into {out}: {changes}; "
        f"{len(plan.shards) - unchanged_count} shards written, {unchanged_count} unchanged",
        *_missing_test_note(plan, source, workspace, out, config),
    ]


def _notes(
    plan: ReleasePlan,
    source: _Source,
    workspace: Path,
    out: Path,
    config: PackConfig,
    manifest: Mapping[str, Any],
    shards: Sequence[WrittenShard],
) -> list[str]:
    """Return the sentences that a user should read after the run."""
    notes = _missing_test_note(plan, source, workspace, out, config)
    if plan.left_out:
        notes.append(
            f"The base has no column for {', '.join(plan.left_out)}. Pack without --base to have these metrics."
        )
    if why := manifest.get("local_only"):
        notes.append(f"The release must stay on this machine: {why}")
    if plan.left_out_preferences:
        notes.append(
            f"Of {plan.left_out_preferences} photographs no preferences are packed: they are in the test split, or "
            "look like one of its photographs."
        )
    if plan.base is not None:
        kept_count = sum(shard.is_kept for shard in shards)
        written = {"shards written": len(shards) - kept_count, "shards unchanged": kept_count}
        notes.append(f"since the base: {_join({**plan.counts, **written})}")
        if any(plan.priors.values()):
            notes.append(f"priors since the base: {_join(plan.priors)}")
        if plan.priors["gone"] and not config.priors:
            notes.append(f"The {PRIOR} split of the base was removed. Pack with --priors to keep it.")
    return notes


def _join(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _missing_test_note(plan: ReleasePlan, source: _Source, workspace: Path, out: Path, config: PackConfig) -> list[str]:
    """Return a note where no pair is in a test split although there should be one: why, and what to type."""
    if plan.test or config.test == 0:
        return []
    pair_count = plan.size(of_priors=False)
    has_earlier = bool(source.published_keys) or plan.base is not None
    return [explain_missing_test(workspace, out, config, pair_count, has_earlier=has_earlier)]


def explain_missing_test(workspace: Path, out: Path, config: PackConfig, pair_count: int, *, has_earlier: bool) -> str:
    """Return why no pair is in a test split, and the command that makes one.

    Args:
        workspace: Folder of the workspace.
        out: Folder of the release.
        config: What the release was to be.
        pair_count: Number of pairs that are packed.
        has_earlier: Whether an earlier release without a test split had pairs of this workspace or of the base.
    """
    verb = "would be" if config.dry_run else "are"
    in_train = f"All {pair_count} pairs {verb} in the train split"
    if pair_count < 2:
        return (
            "The one pair is in the train split, since one pair cannot be divided. Add photographs to the workspace, "
            "then pack again."
        )
    version = [] if config.version == DEFAULT_VERSION else ["--version", config.version]
    share = 0.3 if int(0.3 * pair_count) else 0.5
    command = shlex.join(["ggt100k", "pack", str(workspace), str(out), *version, "--test", str(share)])
    forget = "" if config.dry_run and not has_earlier else " --forget-packed"  # a run has recorded its pairs already
    if has_earlier:
        return (
            f"{in_train}, since an earlier release without a test split had them and models may be trained on them. If "
            f"no model was, type: {command}{forget}"
        )
    test = TEST_SIZE if config.test is None else config.test
    if test >= 1 and pair_count < PAIRS_PER_TEST_PAIR:
        why = f"a test split takes at most a tenth of the pairs and so needs {PAIRS_PER_TEST_PAIR} of them"
    elif test < 1 and int(test * pair_count) < 1:
        why = f"--test {test:g} of {pair_count} pairs is less than one pair"
    else:
        why = "each pair that could be drawn for a test split looks like another one"
        return f"{in_train}, since {why}. Add other photographs, then pack again."
    return f"{in_train}, since {why}. To have a test split all the same, type: {command}{forget}"
