"""restore and retry as Python functions: configs, plans, summaries, recovery after a kill, and batch jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ggt100k
from ggt_format.png import encode_png
from ggt_format.schema import Image
from ggt_tools.errors import ConfigError, TransientError
from ggt_tools.events import Recorded
from ggt_tools.executors import ExecutorConfig
from ggt_tools.providers.protocol import Restored
from ggt_tools.providers.recording import lock_calls, open_calls, write_off_calls
from ggt_tools.providers.service import ServiceConfig
from ggt_tools.records import IN_FLIGHT, Call, Candidate, Job, Photo
from ggt_tools.restorers.protocol import Request
from ggt_tools.stages.prompt.run import PromptConfig
from ggt_tools.stages.restore import Work, plan_restore
from ggt_tools.stages.restore.batch_run import make_in_batches
from ggt_tools.stages.restore.making import CandidateCounts, summarize
from ggt_tools.stages.restore.recovery import recover_candidates
from ggt_tools.stages.restore.run import RestoreConfig
from ggt_tools.stages.restore.run import run as run_restore
from ggt_tools.stages.retry.run import RetryConfig
from ggt_tools.stages.retry.run import run as run_retry
from ggt_tools.stages.screen.run import ScreenConfig
from ggt_tools.workspace.ledger import Ledger

from .making import Store, make_pair, picture

TIME = "2026-11-30T12:00:00Z"


def make_workspace(folder: Path, count: int) -> Path:
    with Ledger(folder, create=True) as ledger:
        for seed in range(count):
            lq = picture(seed, 48, 48)
            facts = {"key": ggt100k.pair_key(lq), "image": ledger.put_image(encode_png(lq))}
            ledger.add(make_pair(Store(), seed, **facts, width=48, height=48).photo)
    return folder


def records(folder: Path, kind: type[Any]) -> list[Any]:
    with Ledger(folder) as ledger:
        return list(ledger.all(kind))


def make_call(work: str, **fields: Any) -> Call:
    values: dict[str, Any] = {
        "id": f"call-{work}", "work": work, "stage": "restore", "model": "m", "started": TIME, "seconds": 1.0,
        "outcome": IN_FLIGHT, "detail": "", "usd": 0.5, "tokens_in": 0, "tokens_out": 0,
    }  # fmt: skip
    return Call(**(values | fields))


def make_candidate(key: str, id: str, **fields: Any) -> Candidate:
    values: dict[str, Any] = {
        "id": id, "key": key, "restorer": "m", "strategy": "none", "prompt": "", "round": 0, "seed": 0,
        "created": TIME, "image": "", "reason": IN_FLIGHT, "restorer_name": "classical",
    }  # fmt: skip
    return Candidate(**(values | fields))


# --- configs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "values", "field_name"),
    [
        (RestoreConfig, {"restorers": ()}, "restorers"),
        (RestoreConfig, {"candidates_per_photo": 0}, "candidates_per_photo"),
        (RestoreConfig, {"seed": -1}, "seed"),
        (RestoreConfig, {"seed": 2**63 - 2, "candidates_per_photo": 3}, "seed"),
        (RestoreConfig, {"poll_seconds": 0.0}, "poll_seconds"),
        (RetryConfig, {"reasons": ()}, "reasons"),
        (PromptConfig, {"strategy": "poem"}, "strategy"),
        (ScreenConfig, {"votes": 0}, "votes"),
    ],
)
def test_a_config_with_a_wrong_value_names_its_field(kind: Any, values: dict[str, Any], field_name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{field_name}: "):
        kind(**values)


def test_the_last_seed_that_a_ledger_can_store_is_allowed() -> None:
    assert RestoreConfig(seed=2**63 - 2, candidates_per_photo=2).seed == 2**63 - 2


# --- run ------------------------------------------------------------------------------------------------------------


def test_restore_makes_missing_candidates_and_sums_over_restorers(tmp_path: Path) -> None:
    workspace, events = make_workspace(tmp_path / "w", 3), Recorded()
    config = RestoreConfig(restorers=("classical",), candidates_per_photo=2)
    first = run_restore(workspace, replace(config, limit=4), events=events)
    assert (first.counts, first.is_failed, first.usd) == ({"made": 4, "already done": 0}, False, 0.0)
    assert run_restore(workspace, config).counts == {"made": 2, "already done": 4}
    assert run_restore(workspace, replace(config, seed=1)).counts == {"made": 3, "already done": 3}
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "0.png").write_bytes(encode_png(picture(9, 48, 48)))
    both = replace(config, restorers=("classical", f"folder:{tmp_path / 'results'}"), candidates_per_photo=1)
    summary = run_restore(workspace, both)
    assert summary.counts == {"made": 1, "already done": 3}
    assert summary.count("rejected") == 2
    assert events.warnings == []
    assert all(candidate.image for candidate in records(workspace, Candidate) if candidate.restorer_name == "classical")


def test_a_dry_run_returns_sentences_and_changes_nothing(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w", 2)
    files = sorted(path.name for path in workspace.rglob("*"))
    summary = run_restore(workspace, RestoreConfig(dry_run=True))
    assert summary.plan == ("would restore 2 photographs with classical",)
    assert sorted(path.name for path in workspace.rglob("*")) == files
    assert records(workspace, Candidate) == []


def test_a_restorer_on_a_paid_server_does_not_run_in_worker_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "key-of-a-test")
    workspace = make_workspace(tmp_path / "w", 1)
    config = RestoreConfig(restorers=("classical", "gemini"))
    with pytest.raises(ConfigError, match="--in-flight"):
        run_restore(workspace, config, executor=ExecutorConfig(workers=2))
    assert records(workspace, Candidate) == [], "the restorer before it has made nothing either"


def test_retry_lists_the_reasons_that_there_are(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w", 2)
    (first, second) = (photo.key for photo in records(workspace, Photo))
    with Ledger(workspace) as ledger:
        ledger.add(make_candidate(first, "a", reason="timeout"), make_candidate(second, "b", reason="refused"))
    with pytest.raises(ConfigError) as caught:
        run_retry(workspace, RetryConfig(reasons=("timeout", "too_dark")))
    assert str(caught.value) == f"{workspace}: nothing failed for 'too_dark'. The reasons are: refused, timeout."


def test_a_summary_adds_up_restorers_and_fails_where_one_of_them_made_nothing(tmp_path: Path) -> None:
    good, empty = CandidateCounts(), CandidateCounts()
    good.add(make_candidate("k", "a", reason=""), make_call("a", outcome="ok"))
    good.add(None, make_call("b", outcome="timeout", usd=float("nan")))
    good.add(make_candidate("k", "b", reason="refused"), make_call("b", outcome="refused", usd=0.25))
    with Ledger(make_workspace(tmp_path / "w", 0)) as ledger:
        ledger.add(make_call("a", outcome="ok"), make_call("z", outcome="ok", usd=1.0))
        summary = summarize("restore", [good], ledger=ledger, already_done=7)
        assert summary.counts == {"made": 1, "already done": 7}
        assert summary.reasons == {"rejected": {"refused": 1}, "retried": {"timeout": 1}}
        assert (summary.usd, summary.is_failed) == (0.75, False)
        assert summary.notes == ("  cost 0.75 usd; all runs together 1.50 usd",)
        empty.add(make_candidate("k", "c", reason="timeout"), make_call("c", outcome="timeout", usd=0.0))
        assert summarize("restore", [good, empty], ledger=ledger).is_failed
        empty.rejected.clear()
        assert not summarize("restore", [empty], ledger=ledger).is_failed, "there was nothing to do"
        empty.add(make_candidate("k", "c", reason="refused"), make_call("c", outcome="refused", usd=0.0))
        assert summarize("restore", [empty], ledger=ledger).is_failed, "refused for good"


# --- recovery -------------------------------------------------------------------------------------------------------


def test_calls_of_a_killed_run_are_stored_or_written_off(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w", 1)
    (photo,) = records(workspace, Photo)
    with Ledger(workspace) as ledger:
        for name in ("arrived", "lost", "in_job"):
            ledger.add(make_candidate(photo.key, name), make_call(name))
        ledger.add(make_call("asked", stage="prompt"))
        ledger.add(Job(id="j", restorer_name="gemini", name="", state="sent", works=("in_job",), created=TIME))
        ledger.receive("arrived", encode_png(picture(5, 48, 48)))
        ledger.receive("unknown", encode_png(picture(6, 48, 48)))
        recover_candidates(ledger)
        assert ledger.received() == []
    candidates = {candidate.id: candidate for candidate in records(workspace, Candidate)}
    assert {id: candidate.reason for id, candidate in candidates.items()} == {
        "arrived": "", "lost": "lost", "in_job": IN_FLIGHT
    }  # fmt: skip
    assert bool(candidates["arrived"].image)
    outcomes = {call.work: call.outcome for call in records(workspace, Call)}
    assert outcomes == {"arrived": "ok", "lost": "lost", "in_job": IN_FLIGHT, "asked": IN_FLIGHT}
    with Ledger(workspace) as ledger:
        write_off_calls(ledger, "prompt")
        assert {call.work: call.outcome for call in ledger.all(Call)}["asked"] == "lost"
        assert ledger.spent() == 2.0, "a lost call counts with the most that it may have cost"


@dataclass(frozen=True)
class Question:
    id: str


@dataclass(frozen=True)
class Answer:
    tokens_in: int = 0
    tokens_out: int = 0


def test_calls_are_recorded_before_they_are_sent_and_keep_the_budget_of_the_workspace(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w", 0)
    with Ledger(workspace) as ledger, lock_calls(ledger):
        ledger.add(make_call("before", outcome="ok", usd=0.5))
        outcomes_seen: list[str] = []

        def ask(question: Question) -> Answer:
            with Ledger(workspace) as reader:
                outcomes_seen.extend(call.outcome for call in reader.all(Call) if call.work == question.id)
            return Answer()

        service = ServiceConfig(price=0.25, budget=1.0, in_flight=1)
        calls = open_calls(ask, ledger=ledger, service=service, stage="prompt", model="some-model")
        with pytest.raises(ConfigError, match=r"budget of 1\.00 USD"):
            for ended in calls.perform([Question(name) for name in "abc"]):
                ledger.add(*(end.call for end in ended))
        assert outcomes_seen == [IN_FLIGHT, IN_FLIGHT], "0.5 of 1.0 were spent, so two calls of 0.25 were left"
        assert {call.stage for call in ledger.all(Call) if call.work != "before"} == {"prompt"}
        assert ledger.spent() == 1.0


# --- batch jobs -----------------------------------------------------------------------------------------------------


@dataclass
class FakeBatches:
    """A restorer whose provider fails now and then, and answers each job with inverted photographs."""

    states: list[str | Exception] = field(default_factory=list)
    find_errors: list[Exception] = field(default_factory=list)
    jobs: dict[str, dict[str, Image]] = field(default_factory=dict)
    name: str = "fake"
    model: str = "fake-1"
    version: str = "1"
    is_remote: bool = True
    needs_square: bool = False
    takes_prompt: bool = False
    batch_bytes: int = 10**9

    def restore(self, image: Image, prompt: str, *, seed: int) -> Restored:
        return Restored(image=np.ascontiguousarray(255 - image))

    def send(self, job: str, requests: Iterable[Request]) -> str:
        self.jobs[job] = {request.id: request.image for request in requests}
        return f"name of {job}"

    def find(self, job: str) -> str:
        if self.find_errors:
            raise self.find_errors.pop(0)
        return ""

    def state(self, name: str) -> str:
        state = self.states.pop(0) if self.states else "done"
        if isinstance(state, Exception):
            raise state
        return state

    def results(self, name: str) -> Iterator[tuple[str, Restored]]:
        for id, image in self.jobs[name.removeprefix("name of ")].items():
            yield id, self.restore(image, "", seed=0)


def plan_works(ledger: Ledger, restorer: FakeBatches) -> list[Work]:
    photos = ledger.all(Photo)
    return list(plan_restore(photos, restorer, restorer_name="fake", prompts={}, seeds=[0], clock=lambda: TIME))


def test_requests_of_batch_jobs_are_repeated_and_limited_by_the_budget(tmp_path: Path) -> None:
    workspace, events = make_workspace(tmp_path / "w", 3), Recorded()
    restorer = FakeBatches(
        states=[TransientError("the server is down"), "running", "done"],
        find_errors=[TransientError("too many requests", reason="rate_limited")],
    )
    service = ServiceConfig(price=1.0, budget=2.5, attempts=2)
    with Ledger(workspace) as ledger:
        works = plan_works(ledger, restorer)
        with pytest.raises(ConfigError, match=r"2 candidates were restored, 2\.00 USD are spent, 1 candidates wait"):
            make_in_batches(works, restorer, "fake", ledger=ledger, service=service, poll_seconds=0.01, events=events)
        assert events.warnings == [
            "too many requests. The request is sent again.", "the server is down. The request is sent again."
        ]  # fmt: skip
        made = [candidate for candidate in ledger.all(Candidate) if candidate.image]
        assert len(made) == 2
        assert [job.state for job in ledger.all(Job)] == ["done"]
        assert ledger.spent() == 2.0


def test_a_batch_request_that_fails_in_all_attempts_leaves_an_open_job(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w", 1)
    restorer = FakeBatches(states=[TransientError("down"), TransientError("still down")])
    service = ServiceConfig(price=1.0, attempts=2)
    with Ledger(workspace) as ledger:
        works = plan_works(ledger, restorer)
        arguments: dict[str, Any] = {"ledger": ledger, "service": service, "poll_seconds": 0.01, "events": Recorded()}
        with pytest.raises(TransientError, match="still down"):
            make_in_batches(works, restorer, "fake", **arguments)
        assert [job.state for job in ledger.all(Job)] == ["sent"]
        assert make_in_batches([], restorer, "fake", **arguments).made == 1
        assert len(restorer.jobs) == 1
