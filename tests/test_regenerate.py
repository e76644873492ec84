"""From photographs to candidates, with the real SDKs over loopback: nothing is paid twice or lost.

The models run in a process of their own (tests/models.py) and count what was paid by photograph.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import ggt100k
from ggt_format.png import encode_png
from ggt_tools.cli import main
from ggt_tools.records import IN_FLIGHT, Aligned, Call, Candidate, Job, Photo, Prompt
from ggt_tools.workspace.ledger import Ledger

from .making import FORKED, Store, make_pair, picture, run_verb
from .models import KEY, Models, Reply, brightened, cut, echo, failed, png, refusal, script, sized, slow, too_many
from .photographs import crop

GEMINI = "gemini-3.1-flash-image-preview"


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def ggt(*argv: str | Path) -> Done:
    """Runs the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(arg) for arg in argv])
    return Done(code, out.getvalue(), err.getvalue())


def well(*argv: str | Path) -> str:
    done = ggt(*argv)
    assert done.code == 0, done
    return done.out


def workspace(folder: Path, count: int, prompts: str = "fixed", size: tuple[int, int] = (70, 90)) -> Path:
    """A workspace of `count` small photographs with their prompts."""
    with Ledger(folder, create=True) as ledger:
        for seed in range(count):
            lq = picture(seed, *size)
            facts = {"key": ggt100k.pair_key(lq), "image": ledger.put_image(encode_png(lq))}
            ledger.add(make_pair(Store(), seed, **facts, width=size[1], height=size[0]).photo)
    if prompts:
        assert well("prompt", folder, "--strategy", prompts) == f"prompt: {count} written, 0 already done\n"
    return folder


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMINI_API_KEY", "OPENAI_API_KEY", "OPENAI_COMPATIBLE_API_KEY"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)


def facts(folder: Path, kind: type[Any]) -> list[Any]:
    with Ledger(folder) as ledger:
        return list(ledger.all(kind))


def sound(folder: Path) -> None:
    """No file without its row, no row without its file."""
    with Ledger(folder) as ledger:
        named = {photo.image for photo in ledger.all(Photo)}
        named |= {candidate.image for candidate in ledger.all(Candidate) if candidate.image}
        named |= {aligned.image for aligned in ledger.all(Aligned) if aligned.image}
        for name in named:
            assert ledger.image(name)
    assert {path.name for path in (folder / "images").glob("*/*")} == named
    assert list((folder / "incoming").glob("*")) == []


def options(models: Models, *more: str) -> tuple[str, ...]:
    return ("--with", "gemini", "--base-url", models.url, *more)


# --- faults ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("maker", ["gemini", "openai", "openai-compatible:some-model"])
def test_every_temporary_error_is_retried(tmp_path: Path, maker: str) -> None:
    faults = [too_many(0.3), failed(500), failed(503), cut(Reply(image=b"x" * 5000)), slow(5.0), too_many(0.2)]
    with Models(script(*faults)) as models:
        folder = workspace(tmp_path / "w", 4)
        url = models.url if maker == "gemini" else models.v1
        price = ("--price", "0.1") if ":" in maker else ()
        began = time.monotonic()
        done = ggt("restore", folder, "--with", maker, "--base-url", url, "--in-flight", "2", "--timeout", "2", *price)
        assert done.code == 0, done
        assert time.monotonic() - began < 60
        lines = done.out.splitlines()
        assert lines[0] == "restore: 4 made, 0 already done"
        retried = {line.split()[2]: int(line.split()[1]) for line in lines if line.startswith("  retried")}
        assert retried == {"rate_limited": 2, "server_error": 2, "cut_off": 1, "timeout": 1}
        asked = len(models.asked)
    calls = facts(folder, Call)
    assert len(calls) == asked == 10
    assert Counter(call.outcome for call in calls) == {"ok": 4} | retried
    made = facts(folder, Candidate)
    assert [(c.reason, bool(c.image), c.restorer_name, c.strategy) for c in made] == [("", True, maker, "fixed")] * 4
    sound(folder)


def test_permanent_failures_are_recorded_and_can_be_retried_by_reason(tmp_path: Path) -> None:
    answers = [refusal("a face"), Reply(image=b"not an image"), Reply(text="I would rather not"), failed(400)]
    with Models(script(*answers)) as models:
        folder = workspace(tmp_path / "w", 5)
        done = ggt("restore", folder, *options(models, "--in-flight", "1"))
        assert done.code == 0
        reasons = {line.split()[2]: int(line.split()[1]) for line in done.out.splitlines() if "rejected" in line}
        assert reasons == {"refused": 1, "not_an_image": 1, "no_image": 1, "bad_request": 1}
        assert "no_image: I would rather not" in done.err
        before = len(models.asked)
        assert well("restore", folder, *options(models)).startswith("restore: 0 made, 5 already done\n")
        assert len(models.asked) == before, "an outcome is not asked for again"
        done = ggt("retry", folder, "--reason", "timeout", "--base-url", models.url)
        known = "bad_request, no_image, not_an_image, refused"
        said = f"ggt100k retry: {folder}: nothing failed for 'timeout'. The reasons are: {known}.\n"
        assert (done.code, done.err) == (2, said)
        more = ("--reason", "refused", "--reason", "no_image", "--base-url", models.url)
        assert well("retry", folder, *more).startswith("retry: 2 made, 0 already done\n")
        assert len(models.asked) == before + 2
    assert Counter(c.reason for c in facts(folder, Candidate)) == {"": 3, "not_an_image": 1, "bad_request": 1}
    sound(folder)
    status = well("status", folder)
    assert re.search(r"^restore +5 +3 +1 bad_request, 1 not_an_image$", status, re.M)
    assert re.search(rf"^restore +{GEMINI} +refused +1 +\d", status, re.M)
    assert re.search(rf"^retry +{GEMINI} +ok +2 +\d", status, re.M)


def test_a_reply_of_another_size_is_kept_and_resized_by_align(tmp_path: Path) -> None:
    with Models(script(sized(360, 360), sized(180, 180), then=sized(180, 360))) as models:
        folder = workspace(tmp_path / "w", 3)
        well("restore", folder, *options(models, "--in-flight", "1"))
        (asked, *_) = models.asked
        assert asked.kind == "generate"
    candidates = facts(folder, Candidate)
    assert {c.frame for c in candidates} == {(90, 90, 0, 10, 90, 70)}
    with Ledger(folder) as ledger:
        sizes = sorted(ggt100k.decode_image(ledger.image(c.image)).shape[:2] for c in candidates)
        assert sizes == [(180, 180), (360, 180), (360, 360)]
    done = ggt("align", folder)
    assert done.out.splitlines() == [
        "align: 2 aligned, 0 already done",
        "  rejected      1  aspect_changed",
        "  unsure      2  alignment_unsure",
    ]
    assert "aspect_changed: the result is 180 x 360, and the photograph 90 x 90 with its padding; " in done.err
    with Ledger(folder) as ledger:
        for aligned in ledger.all(Aligned):
            assert not aligned.image or ggt100k.decode_image(ledger.image(aligned.image)).shape == (70, 90, 3)
    sound(folder)


@pytest.mark.parametrize(
    ("verb", "reply", "said"),
    [
        ("restore", refusal("no"), "refused: no IMAGE_SAFETY"),
        ("restore", failed(400), "bad_request: "),
        ("retry", refusal("no"), "refused: "),
        ("batch", refusal("no"), "refused: "),
        ("prompt", failed(400), "bad_request: "),
        (
            "align",
            sized(180, 60),
            "aspect_changed: the result is 180 x 60, and the photograph 90 x 90 with its padding",
        ),
    ],
)
def test_a_message_names_the_file_beside_the_key(verb: str, reply: Reply, said: str, tmp_path: Path) -> None:
    with Models(reply) as models:
        folder = workspace(tmp_path / "w", 1)
        (photo,) = facts(folder, Photo)
        more = ("--batch", "--poll", "0.1") if verb == "batch" else ()
        if verb == "prompt":
            done = ggt("prompt", folder, "--strategy", "vlm", "--base-url", models.url)
        else:
            done = ggt("restore", folder, *options(models, *more))
        if verb == "retry":
            done = ggt("retry", folder, "--reason", "refused", "--base-url", models.url)
        if verb == "align":
            done = ggt("align", folder)
    assert done.code == 1, "nothing was made"
    name = "restore" if verb == "batch" else verb
    (line,) = [line for line in done.err.splitlines() if photo.key in line]
    assert line.startswith(f"ggt100k {name}: {photo.file}: key {photo.key}: ")
    assert said in line


@pytest.mark.parametrize("verb", ["folder", "adopt", "classical"])
def test_unsent_photographs_are_not_reported_as_sent(verb: str, tmp_path: Path) -> None:
    """The result has sides of another ratio than its photograph, and was made elsewhere."""
    folder, results = workspace(tmp_path / "w", 1), tmp_path / "results"
    results.mkdir()
    (photo,) = facts(folder, Photo)
    (results / f"{photo.key}.png").write_bytes(sized(180, 60).image)
    if verb == "adopt":
        originals = tmp_path / "originals"
        originals.mkdir()
        (originals / f"{photo.key}.png").write_bytes(png(picture(7, 70, 90)))
        folder = tmp_path / "other"
        well("adopt", "mine", folder, "--outputs", results, "--originals", originals, "--restorer", "m")
        (photo,) = facts(folder, Photo)
    elif verb == "folder":
        well("restore", folder, "--with", f"folder:{results}")
    else:
        candidate = Candidate(
            id="c", key=photo.key, restorer="classical-1", strategy="none", prompt="", round=0, seed=0,
            created=photo.key, image="", reason="", restorer_name="classical",
        )  # fmt: skip
        with Ledger(folder) as ledger:
            ledger.add(dataclasses.replace(candidate, image=ledger.put_image(sized(180, 60).image)))
    done = ggt("align", folder)
    (line,) = [line for line in done.err.splitlines() if photo.key in line]
    said = "aspect_changed: the result is 180 x 60, and the photograph 90 x 70; "
    assert line.startswith(f"ggt100k align: {photo.file}: key {photo.key}: {said}")
    advice = "try another seed or restorer" if verb == "classical" else "give a result of the same framing, or leave"
    assert advice in line
    assert "sent" not in line


def test_several_candidates_and_several_restorers(tmp_path: Path) -> None:
    with Models() as models:
        folder = workspace(tmp_path / "w", 2)
        # both at one address: Gemini's stands below /v1beta, OpenAI's below /v1
        well("restore", folder, *options(models, "--n", "3"))
        well("restore", folder, "--with", "openai", "--base-url", models.v1)
        well("restore", folder, "--with", "classical")
    made = Counter((c.restorer, c.seed) for c in facts(folder, Candidate))
    assert made == {(GEMINI, 0): 2, (GEMINI, 1): 2, (GEMINI, 2): 2, ("gpt-image-2", 0): 2, ("classical-1", 0): 2}


def test_a_missing_prompt_is_an_error(tmp_path: Path) -> None:
    folder = workspace(tmp_path / "w", 1, prompts="")
    done = ggt("restore", folder, "--with", "gemini")
    said = f"has no prompts of the strategy fixed. Write them: ggt100k prompt {folder} --strategy fixed"
    assert (done.code, done.err) == (2, f"ggt100k restore: {folder}: {said}\n")
    well("prompt", folder)
    well("prompt", folder, "--strategy", "measured")
    done = ggt("restore", folder, "--with", "gemini")
    said = "has prompts of fixed, measured. Choose one with --prompt."
    assert (done.code, done.err) == (2, f"ggt100k restore: {folder}: {said}\n")


# --- money ----------------------------------------------------------------------------------------------------------


def test_the_budget_is_kept_and_the_next_run_continues(tmp_path: Path) -> None:
    with Models() as models:
        folder = workspace(tmp_path / "w", 10)
        done = ggt("restore", folder, *options(models, "--budget", "0.4usd", "--in-flight", "4"))
        assert done.code == 2
        assert re.search(
            r"the budget of 0\.40 USD: 0\.3\d USD are spent, .* may cost 0\.0900 USD\. Raise --budget", done.err
        )
        spent = sum(call.usd for call in facts(folder, Call))
        assert 0.3 < spent <= 0.4
        assert sum(models.paid.values()) == len([c for c in facts(folder, Candidate) if c.image]) < 10
        said = well("restore", folder, *options(models, "--dry-run"))
        left = 10 - sum(models.paid.values())
        assert said == f"would restore {left} photographs with gemini, for at most {left * 0.09:.2f} USD\n"
        assert well("restore", folder, *options(models, "--budget", "5")).startswith(f"restore: {left} made")
        assert set(models.paid.values()) == {1}
        cost = (1300 * 0.5 + 1320 * 60) / 1e6
        assert sum(call.usd for call in facts(folder, Call)) == pytest.approx(10 * cost)


def test_a_model_without_a_price_keeps_no_budget(tmp_path: Path) -> None:
    folder = workspace(tmp_path / "w", 1)
    with Models() as models:
        more = ("--with", "openai-compatible:m", "--base-url", models.v1, "--budget", "1")
        done = ggt("restore", folder, *more)
        said = "m: its price is unknown, so the budget cannot be kept. State the cost of a call: --price USD"
        assert (done.code, done.err) == (2, f"ggt100k restore: {said}\n")
        said = well("restore", folder, *more, "--price", "0.2")
        assert said.splitlines()[1] == "  cost 0.20 usd; all runs together 0.20 usd"


# --- batches --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("maker", ["gemini", "openai"])
def test_a_batch_is_half_the_price_and_picked_up_after_a_restart(tmp_path: Path, maker: str) -> None:
    with Models(script(refusal("no"), then=brightened), jobs_done=False) as models:
        folder = workspace(tmp_path / "w", 5)
        argv = ["restore", str(folder), "--with", maker, "--batch", "--poll", "0.1"]
        argv += ["--base-url", models.url if maker == "gemini" else models.v1]
        process = multiprocessing.get_context("spawn").Process(target=main, args=(argv,))
        process.start()
        while not [job for job in facts(folder, Job) if job.name]:
            assert process.is_alive()
            time.sleep(0.05)
        process.kill()
        process.join()
        assert Counter(c.reason for c in facts(folder, Candidate)) == {IN_FLIGHT: 5}
        alone = ggt("restore", folder, "--with", maker, "--base-url", argv[-1])
        assert "5 candidates are in batch jobs. Run this again with --batch to get their results." in alone.err
        assert sum(models.paid.values()) == 0, "what is in a job is not asked for once more"
        models.finish()
        said = well(*argv)
        assert said.splitlines()[:2] == ["restore: 4 made, 0 already done", "  rejected      1  refused"]
        assert len(models.jobs) == 1
        assert sorted(models.paid.values()) == [1] * 4
    calls = facts(folder, Call)
    full = (1300 * 0.5 + 1320 * 60) / 1e6 if maker == "gemini" else (1300 * 8 + 1120 * 30) / 1e6
    assert sum(call.usd for call in calls if call.outcome == "ok") == pytest.approx(4 * full / 2)
    assert [job.state for job in facts(folder, Job)] == ["done"]
    sound(folder)


def test_a_recorded_job_is_searched_before_it_is_sent_again(tmp_path: Path) -> None:
    with Models() as models:
        folder = workspace(tmp_path / "w", 2)
        argv = ["restore", str(folder), "--with", "gemini", "--batch", "--poll", "0.1", "--base-url", models.url]
        well(*argv)
        (job,) = facts(folder, Job)
        with Ledger(folder) as ledger:  # as a kill between the hand-over and its note leaves it
            for candidate in list(ledger.all(Candidate)):
                ledger._db.execute("DELETE FROM candidate WHERE id = ?", (candidate.id,))
                ledger.add(dataclasses.replace(candidate, image="", reason=IN_FLIGHT))
            ledger.add(dataclasses.replace(job, name="", state="sent"))
        assert well(*argv).startswith("restore: 2 made, 0 already done\n")
        assert len(models.jobs) == 1, "it was found by our id, and not sent once more"
        assert [one.name for one in facts(folder, Job)] == [job.name]


@pytest.mark.slow
def test_old_works_continue_under_their_ids(tmp_path: Path) -> None:
    with Models(script(failed(503))) as models:
        folder = workspace(tmp_path / "w", 5)
        argv = ("restore", folder, *options(models, "--attempts", "1"))
        well(*argv)
        made = facts(folder, Candidate)
        assert all(candidate.id.startswith(candidate.key[:8]) and len(candidate.id) == 24 for candidate in made)
        older = {candidate.id[8:] for candidate in made}
        with Ledger(folder) as ledger:
            ledger._db.execute("UPDATE candidate SET id = substr(id, 9)")
            waits, lost, *_ = (each for each in ledger.all(Candidate) if each.image)
            for one, reason in ((waits, IN_FLIGHT), (lost, "lost")):
                ledger._db.execute("UPDATE candidate SET image = '', reason = ? WHERE id = ?", (reason, one.id))
            ledger.add(
                Job(id="j", restorer_name="gemini", name="batches/1", state="sent", works=(waits.id,), created="")
            )
        asked = len(models.asked)
        done = ggt(*argv)
        assert done.out.startswith("restore: 1 made, 3 already done\n") and len(models.asked) == asked + 1
        assert "1 candidates are in batch jobs" in done.err
        said = well("retry", folder, "--reason", "server_error", "--base-url", models.url)
        assert said.startswith("retry: 1 made"), "it is the same work"
        left = {candidate.id: candidate.reason for candidate in facts(folder, Candidate)}
        assert left == {id: IN_FLIGHT if id == waits.id else "" for id in older}


@pytest.mark.slow
def test_a_batch_job_searched_at_another_address_is_kept(tmp_path: Path) -> None:
    with Models(jobs_done=False) as models, Models() as others:
        folder = workspace(tmp_path / "w", 2)
        argv = ["restore", str(folder), "--with", "gemini", "--batch", "--poll", "0.1", "--base-url"]
        process = multiprocessing.get_context("spawn").Process(target=main, args=([*argv, models.url],))
        process.start()
        while not [job for job in facts(folder, Job) if job.name]:
            assert process.is_alive()
            time.sleep(0.05)
        process.kill()
        process.join()
        done = ggt(*argv, others.url)
        assert done.code == 2
        assert "is unknown. Use the key and --base-url of its submission" in done.err
        assert [(job.state, bool(job.name)) for job in facts(folder, Job)] == [("sent", True)]
        models.finish()
        assert well(*argv, models.url).startswith("restore: 2 made")
        assert len(models.jobs) == 1 and not others.jobs


def test_a_batch_is_limited_to_the_budget(tmp_path: Path) -> None:
    with Models() as models:
        folder = workspace(tmp_path / "w", 5)
        argv = ["restore", str(folder), "--with", "gemini", "--batch", "--poll", "0.1", "--base-url", models.url]
        done = ggt(*argv, "--budget", "0.10")
        assert done.code == 2
        assert (
            "2 candidates were restored, 0.08 USD are spent, 3 candidates wait, and each may cost 0.0450 USD. "
            in done.err
        )
        assert sum(models.paid.values()) == 2
        assert well(*argv, "--budget", "5").startswith("restore: 3 made, 2 already done")
        assert set(models.paid.values()) == {1}


# --- again ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_retry_that_is_killed_can_be_retried(tmp_path: Path) -> None:
    with Models(failed(503)) as models:
        folder = workspace(tmp_path / "w", 3)
        done = ggt("restore", folder, *options(models, "--n", "2", "--attempts", "1"))
        assert done.code == 1, "nothing came of it, and a script should know"
    with Models(slow(30.0)) as models:
        argv = ["retry", str(folder), "--reason", "server_error", "--base-url", models.url]
        process = multiprocessing.get_context("spawn").Process(target=main, args=(argv,))
        process.start()
        while len(models.asked) < 6:
            assert process.is_alive()
            time.sleep(0.05)
        process.kill()
        process.join()
    with Models() as models:
        said = well("retry", folder, "--reason", "lost", "--base-url", models.url)
        assert said.startswith("retry: 6 made, 0 already done\n")
    sound(folder)


def test_a_retry_continues_started_works_only(tmp_path: Path) -> None:
    with Models(failed(503)) as models:
        folder = workspace(tmp_path / "w", 1)
        ggt("restore", folder, *options(models, "--attempts", "1", "--option", "size=2K"))
    (candidate,) = facts(folder, Candidate)
    with Models() as models:
        done = ggt("retry", folder, "--reason", "server_error", "--base-url", models.url)
        assert (done.code, len(models.asked)) == (2, 0)
        assert done.err == (
            f"ggt100k retry: key {candidate.key}: candidate {candidate.id} was started with another version or other "
            "options of gemini. Give the --option values that it was started with.\n"
        )
        more = ("--reason", "server_error", "--option", "size=2K", "--base-url", models.url)
        assert well("retry", folder, *more).startswith("retry: 1 made")


def test_photographs_with_prompts_are_restored_and_others_counted(tmp_path: Path) -> None:
    folder = workspace(tmp_path / "w", 3, prompts="")
    well("prompt", folder, "--limit", "2")
    with Models() as models:
        done = ggt("restore", folder, *options(models))
    assert done.out.startswith("restore: 2 made")
    assert (
        done.err
        == f"ggt100k restore: 1 photographs have no prompt and are not restored. Run: ggt100k prompt {folder}\n"
    )


# --- secrets --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_key_appears_nowhere(tmp_path: Path) -> None:
    faults = [echo(), too_many(0.1), failed(500, f"key {KEY} is odd"), refusal(f"not with {KEY}")]
    with Models(script(*faults)) as models:
        folder = workspace(tmp_path / "w", 4)
        environment = dict(os.environ) | {"GEMINI_API_KEY": KEY}
        command = [sys.executable, "-m", "ggt_tools.cli", "--verbose", "restore", str(folder), *options(models)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
    with Models(key="another") as models:  # ours is refused there
        command = [*command[:-1], models.url, "--seed", "7"]
        wrong = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert wrong.returncode == 2
    assert "GEMINI_API_KEY" in wrong.stderr
    shown = [done.stdout, done.stderr, wrong.stdout, wrong.stderr, well("status", folder)]
    for text in shown:
        assert KEY not in text and KEY[3:] not in text
    for path in folder.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def test_a_missing_key_is_an_error_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMINI_API_KEY")
    folder = workspace(tmp_path / "w", 1)
    done = ggt("restore", folder, "--with", "gemini")
    assert done.code == 2
    assert done.err.startswith("ggt100k restore: GEMINI_API_KEY: ")


# --- prompts by a model ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_prompts_of_a_model_are_paid_once_and_invalid_ones_are_replaced(tmp_path: Path) -> None:
    good = json.dumps({"faults": [{"kind": "rain", "strength": "clear", "where": "the sky"}], "keep": ["two lamps"]})
    answers = [Reply(text="Sure! " + good), Reply(text="{"), too_many(0.1)]
    with Models(script(*answers, then=Reply(text=good))) as models:
        folder = workspace(tmp_path / "w", 3, prompts="")
        argv = ("prompt", folder, "--strategy", "vlm", "--base-url", models.url, "--in-flight", "1")
        said = well(*argv, "--dry-run")
        assert said == "would write 3 prompts, for at most 0.18 USD\n"
        said = well(*argv)
        assert said.splitlines() == [
            "prompt: 3 written, 0 already done",
            "  1 of them are fixed prompts, because the model gave no usable answer",
        ]
        assert len(models.asked) == 5, "one repair try, one retry"
        assert well(*argv).startswith("prompt: 0 written, 3 already done\n")
        assert len(models.asked) == 5
    prompts = facts(folder, Prompt)
    assert sorted(bool(prompt.note) for prompt in prompts) == [False, False, True]
    assert all("two lamps" in prompt.text for prompt in prompts if not prompt.note)
    assert Counter((call.stage, call.outcome) for call in facts(folder, Call)) == {
        ("prompt", "ok"): 2,
        ("prompt", "bad_reply"): 1,
        ("prompt", "rate_limited"): 1,
    }


@pytest.mark.slow
def test_classes_by_a_model_are_paid_for_and_a_refusal_leaves_the_measured_one(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("aitzgorri-1", "friends-1", "life-1"):
        Image.fromarray(crop(name, 512)).save(tmp_path / "photos" / f"{name}.png")
    good = Reply(text=json.dumps({"main": "rain", "all": ["rain", "noise"]}))
    with Models(script(too_many(0.1), refusal("no"), then=good)) as models:
        argv = ("ingest", tmp_path / "photos", tmp_path / "w", "--licence", "CC0-1.0", "--classes", "vlm")
        done = ggt(*argv, "--base-url", models.url)
    assert done.out == "ingest: 3 imported, 0 already done\n"
    assert "refuses" in done.err and "The class is measured instead" in done.err
    photos = facts(tmp_path / "w", Photo)
    assert sorted(photo.degradation for photo in photos).count("rain") == 2
    assert [photo.degradations for photo in photos if photo.degradation == "rain"] == [("rain", "noise")] * 2
    outcomes = Counter((call.stage, call.outcome) for call in facts(tmp_path / "w", Call))
    assert outcomes == {("ingest", "ok"): 2, ("ingest", "refused"): 1, ("ingest", "rate_limited"): 1}


@pytest.mark.slow
def test_a_class_is_asked_for_once_however_often_it_is_ingested(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("aitzgorri-1", "friends-1", "life-1", "wine-2"):
        Image.fromarray(crop(name, 512)).save(tmp_path / "photos" / f"{name}.png")
        Image.fromarray(crop(name, 512)).save(tmp_path / "photos" / f"{name}-again.png")
    good = Reply(text=json.dumps({"main": "snow", "all": []}))
    with Models(good) as models:
        argv = ("ingest", tmp_path / "photos", tmp_path / "w", "--licence", "CC0-1.0", "--classes", "vlm")
        argv = (*argv, "--base-url", models.url, "--in-flight", "1")
        assert ggt(*argv, "--limit", "1").out.startswith("ingest: 1 imported")
        assert len(models.asked) == 1
        for _ in range(2):
            assert ggt(*argv).code == 0
            assert len(models.asked) == 4, "neither a copy nor what is in already"
    assert [photo.degradation for photo in facts(tmp_path / "w", Photo)] == ["snow"] * 4


# --- kill -9 --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def elsewhere(*argv: str) -> Iterator[dict[str, str]]:
    """The models in a process of their own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.models", *argv],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdin is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(timeout=30)


def paid(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/paid", timeout=30) as reply:
        return dict(json.load(reply))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="wants kill -9")
def test_thirty_kills_pay_for_no_more_than_was_in_flight(tmp_path: Path) -> None:
    count, kills, in_flight = 60, 30, 2
    dice = random.Random(5)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(FORKED)
    folder = workspace(tmp_path / "w", count, size=(72, 72))  # square: what is sent is the photograph itself
    lost: Counter[str] = Counter()
    with elsewhere("--latency", "0.6") as models:
        argv = ["restore", str(folder), "--with", "gemini", "--base-url", models["url"]]
        argv += ["--in-flight", str(in_flight)]
        killed = 0
        while killed < kills:
            before = paid(models["url"])["asked"]
            process = context.Process(target=run_verb, args=(argv, dict(os.environ)))
            process.start()
            while paid(models["url"])["asked"] == before and process.is_alive():
                time.sleep(0.01)
            time.sleep(dice.uniform(0, 0.54))
            assert process.is_alive(), "60 photographs last for more than 30 kills"
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            killed += 1
            key_of = {candidate.id: candidate.key for candidate in facts(folder, Candidate)}
            flying = [call for call in facts(folder, Call) if call.outcome == IN_FLIGHT]
            assert len(flying) <= in_flight
            lost.update(key_of[call.work] for call in flying)
        well(*argv)
        found = paid(models["url"])
    made = facts(folder, Candidate)
    assert len(made) == count and all(candidate.image for candidate in made)
    assert set(found["paid"]) == {candidate.key for candidate in made}
    for key, times in found["paid"].items():
        assert 1 <= times <= 1 + lost[key], f"{key}: paid {times} times, in flight at {lost[key]} kills"
    assert sum(found["paid"].values()) > count, "some kill hit a call that had been paid"
    outcomes = Counter(call.outcome for call in facts(folder, Call))
    assert set(outcomes) == {"ok", "lost"} and outcomes["ok"] == count
    sound(folder)


# --- many at a time -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc for a process's memory")
def test_two_thousand_photographs_in_flat_memory(tmp_path: Path) -> None:
    count = 2000
    folder = workspace(tmp_path / "w", count)
    (tmp_path / "fixed.png").write_bytes(encode_png(picture(1, 90, 90)))
    with elsewhere("--fixed", str(tmp_path / "fixed.png")) as models:
        argv = ["restore", str(folder), "--with", "gemini", "--base-url", models["url"], "--in-flight", "64"]
        process = subprocess.Popen([sys.executable, "-m", "ggt_tools.cli", *argv], stdout=subprocess.PIPE, text=True)
        sizes: list[tuple[int, int]] = []
        try:
            while process.poll() is None:
                pages = Path(f"/proc/{process.pid}/statm").read_text().split()
                if pages:
                    sizes.append((paid(models["url"])["answered"], int(pages[1]) * os.sysconf("SC_PAGE_SIZE")))
                time.sleep(0.1)
        finally:
            process.kill()
        out = process.stdout.read() if process.stdout else ""
    assert out.startswith(f"restore: {count} made, 0 already done\n")
    early = max(size for done, size in sizes if count // 5 <= done <= count // 3)
    late = max(size for done, size in sizes if done >= count * 4 // 5)
    assert late - early < 20e6, f"{early / 1e6:.0f} MB with a fifth done, {late / 1e6:.0f} MB at the end"
    sound(folder)
