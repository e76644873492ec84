"""Compare the verdicts of two gates on a workspace. Nothing is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from ggt_tools.errors import check_limit
from ggt_tools.policy.profiles import load_profile
from ggt_tools.policy.verdicts import Judge
from ggt_tools.policy.what_if import NOT_JUDGED, Change, what_if
from ggt_tools.records import Verdict
from ggt_tools.stages.verdict.run import judge_one_by_one, votes_in_force
from ggt_tools.tables import format_table, printable
from ggt_tools.workspace.ledger import Ledger

__all__ = ["CompareConfig", "GateComparison", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig:
    """Which gates are compared.

    Attributes:
        what_if: The gate file that might be used instead.
        gate: The gate file that it is compared with; None for the verdicts that the workspace holds.
        limit: Compare at most this many candidates.
    """

    what_if: Path
    gate: Path | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        check_limit(self.limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateComparison:
    """How another gate would change the verdicts. `str(comparison)` is what `ggt100k verdict --what-if` prints.

    Attributes:
        gate: The other gate file.
        candidates: Number of candidates that were compared.
        before: Candidates by their present decision: keep, reject, unsure, or "not judged".
        after: Candidates by the decision of the other gate.
        changes: What would change, the most frequent change first, with a few examples of each.
        keys: Key of the photograph of each example, by candidate.
    """

    gate: Path
    candidates: int
    before: Mapping[str, int]
    after: Mapping[str, int]
    changes: tuple[Change, ...]
    keys: Mapping[str, str]

    def __str__(self) -> str:
        changed = sum(change.count for change in self.changes)
        decisions = ("keep", "reject", "unsure", NOT_JUDGED)
        rows = [
            (name, *(str(counts.get(decision, 0)) for decision in decisions))
            for name, counts in (("now", self.before), ("then", self.after))
        ]
        lines = [
            f"verdict: with {printable(str(self.gate))} {changed} of {self.candidates} would change",
            *format_table(("", *decisions), rows),
        ]
        for change in self.changes:
            lines.append(f"{change.count:>6}  {change.before} -> {change.after}")
            for example in change.examples:
                before, after = (", ".join(map(str, items)) for items in (example.before, example.after))
                evidence = f"{before}; then {after}" if before else after
                lines.append(printable(f"          {self.keys[example.candidate]} {example.candidate}: {evidence}"))
        return "\n".join(lines)


def run(workspace: Path, config: CompareConfig) -> GateComparison:
    """Judge the candidates by another gate, and return what would change.

    Args:
        workspace: Folder of the workspace.
        config: Which gates to compare.

    Raises:
        ConfigError: A gate file cannot be read or is wrong.
    """
    other_gate = load_profile(config.what_if)
    gate = load_profile(config.gate) if config.gate else None
    with Ledger(workspace) as ledger:
        people = votes_in_force(ledger)
        present = ledger.all(Verdict) if gate is None else judge_one_by_one(ledger, Judge(gate, people))
        before = {verdict.candidate: verdict for verdict in present}
        judged = judge_one_by_one(ledger, Judge(other_gate, people))
        after = sorted(judged, key=attrgetter("candidate"))[: config.limit]
        changes = what_if(before, after)
        examples = {example.candidate for change in changes for example in change.examples}
        keys = {name: key for name, key in ledger.candidate_keys().items() if name in examples}
    return GateComparison(
        gate=config.what_if,
        candidates=len(after),
        before=Counter(before[v.candidate].decision if v.candidate in before else NOT_JUDGED for v in after),
        after=Counter(verdict.decision for verdict in after),
        changes=changes,
        keys=keys,
    )
