"""report: the numbers on the page, the examples that it selects, and escaping of foreign text."""

from __future__ import annotations

import argparse
import base64
import dataclasses
import hashlib
import io
import math
import random
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ggt_format.png import encode_png
from ggt_tools.cli import main
from ggt_tools.cli import report as verb
from ggt_tools.errors import ConfigError, ShardError
from ggt_tools.policy.agreement import summarize_reviews
from ggt_tools.policy.bounds import read_bounds
from ggt_tools.policy.gate import parse_gate
from ggt_tools.policy.verdicts import DEFAULT_GATE, verdict
from ggt_tools.records import Aligned, Decision, Photo, Score, Stage
from ggt_tools.stages.report import ReportFacts, report
from ggt_tools.stages.report.figures import HEIGHT, axis_range, histogram, thumbnail
from ggt_tools.stages.report.highlights import class_examples, correlated_metrics, rejected_by_one_rule
from ggt_tools.stages.report.run import ReportConfig, run
from ggt_tools.workspace.ledger import Ledger

from .browsing import browser
from .making import Store, make_pair, picture
from .test_verdict import GOOD, TEXT, candidate

GATE = parse_gate(Path("small.toml"), TEXT)
NASTY = '<script>alert("1")</script>\x00\u202e.jpg'
VOID = {"meta", "img", "path", "line", "br", "input"}


class Page(HTMLParser):
    """Tags, their attributes and texts; fails where a tag is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def facts(count: int, *, file: str = "rain.jpg", images: bool = True, gate: str = TEXT) -> ReportFacts:
    """Candidates whose halo goes from 0 to 6: kept up to 3, unsure up to 5, then rejected; one has no image at all."""
    store = Store()
    pair = make_pair(store, 1, "mixed")
    photos: dict[str, Photo] = {}
    candidates, scores = [], {}
    drawn = random.Random(1)
    for number in range(count):
        name, key = f"c{number:05}", f"k{number:05}"
        degradation = "haze" if number % 3 == 0 else "mixed"
        photos[key] = dataclasses.replace(
            pair.photo, key=key, degradation=degradation, degradations=(degradation,), file=file, author=f"{file}!"
        )
        candidates.append(dataclasses.replace(candidate(name, key), prompt=file))
        value = 6 * number / max(count - 1, 1)
        scores[name] = {**GOOD, "halo": value, "twin": value + drawn.gauss(0, 0.1)}
    photos["none"] = dataclasses.replace(pair.photo, key="none")
    candidates.append(candidate("none", "none", image="", reason="safety"))
    seen = {photo.key: photo.degradations for photo in photos.values()}
    judged = {v.candidate: v for v in verdict(candidates, scores, seen, parse_gate(Path("g"), gate))}

    def image(name: str) -> bytes:
        if not images:
            raise ShardError(f"{name[:8]}: <b>gone</b>")
        return store.image(name)

    return ReportFacts(
        name="<i>workspace</i>",
        gate=parse_gate(Path("g"), gate),
        funnel=(
            Stage(stage="restore", entered=count + 1, left=count, reasons=(("safety", 1),)),
            Stage(stage="verdict", entered=count, left=count // 2, reasons=(("halos", count - count // 2),)),
        ),
        photos=photos,
        candidates=candidates,
        verdicts=judged,
        aligned={c.id: pair.image for c in candidates if c.image},
        scores=scores,
        image=image,
    )


def test_the_page_has_the_numbers() -> None:
    page = Page(report(facts(61), created="2026-01-02T03:04:05Z"))
    assert "Created 2026-01-02T03:04:05Z. Judged by gate " + GATE.id in page.text
    assert "restore 62 61 1 safety" in page.text and "verdict 61 30 31 halos" in page.text
    assert "haze 11 6 4 mixed 20 14 7" in page.text  # keep, unsure, reject; the one without image is among the mixed
    assert "classical-1 31 20 11" in page.text and "Candidates: 31 keep , 20 unsure , 11 reject" in page.text
    assert "unsure score halos 20 reject score halos 10 reject restore safety 1" in page.text
    titles = [text for text in page.words if ", haze: " in text or ", mixed: " in text]
    assert "halo, haze: 11 keep, 6 unsure, 4 reject, 0 unmeasured" in titles
    assert len(titles) == 2 * len(GATE.metrics) == sum(tag == "svg" for tag, _ in page.tags)


def test_texts_from_outside_are_escaped() -> None:
    html = report(facts(61, file=NASTY), created="2026-01-02T03:04:05Z")
    page = Page(html)
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"iframe", "object", "link", "b", "a"}
    assert '<script>alert("1")</script>\ufffd\ufffd.jpg' in page.words, "shown as it is, without what does not print"
    assert "<i>workspace</i>" in page.words and html.count("<script") == 1 and "\x00" not in html
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "href"]
        assert (attributes.get("src") or "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
    assert "http://" not in html and "https://" not in html
    (policy,) = (a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    script = html.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert "prefers-color-scheme: dark" in html


def test_a_file_name_that_is_not_unicode_can_be_written() -> None:
    assert report(facts(3, file="caf\udce9.jpg"), created="x").encode().count("caf\ufffd.jpg".encode()) >= 1


def test_a_missing_image_is_named_in_its_place() -> None:
    page = Page(report(facts(20, images=False), created="x"))
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert any(re.fullmatch(r"lq: [0-9a-f]{8}: <b>gone</b>", text) for text in page.words)


def test_the_size_is_bounded_however_many_candidates_there_are() -> None:
    some, many = (report(facts(count), created="x") for count in (300, 3000))
    assert many.count("<img") == some.count("<img") and len(many) < 1.02 * len(some)
    images = [base64.b64decode(data) for data in re.findall(r"base64,([^\"]+)", many)]
    assert max(map(len, images)) < 60_000
    noise = np.random.default_rng(1).integers(0, 256, (1024, 768, 3), dtype=np.uint8)
    assert len(thumbnail(encode_png(noise))) < 180_000, "the worst there is"
    with Image.open(io.BytesIO(base64.b64decode(thumbnail(encode_png(noise)).partition(",")[2]))) as small:
        assert small.size == (300, 400)


def test_a_page_without_candidates() -> None:
    page = Page(report(facts(0), created="x"))
    assert page.text.count("None.") == 2 and "No two metrics have a rank correlation of at least 0.8." in page.text


# --- what is picked out -----------------------------------------------------------------------------------------------


def asked(rows: list[dict[str, float]]) -> tuple[Any, list[Any]]:
    listed = [candidate(f"{number:03}", f"k{number}") for number in range(len(rows))]
    scores = {c.id: row for c, row in zip(listed, rows, strict=True)}
    judged = list(verdict(listed, scores, {c.key: "mixed" for c in listed}, GATE))
    return read_bounds(GATE, [("mixed",)] * len(rows), rows), judged


def test_examples_are_the_ends_of_what_was_kept_and_rejected() -> None:
    far = {**GOOD, "structure": 50.0, "shift": -50.0, "tile_worst": 50.0, "vlm_fidelity": 200.0, "sharpness_gain": 50.0}
    found, judged = asked([{**far, "halo": float(halo)} for halo in (0, 1, 2.9, 4, 5.2, 8, 9)])
    classes, calm = ["mixed"] * 7, np.zeros(7)
    (examples,) = class_examples(found, judged, classes, calm, max_count=2).values()
    assert examples.best_kept == (0, 1) and examples.worst_kept == (2,) and examples.best_rejected == (4, 5)
    assert examples.most_contested == (3,), "it is unsure"
    calm[[1, 6]] = 0.5, 1.0
    by_class = class_examples(found, judged, ["haze", *classes[1:]], calm, max_count=3)
    assert by_class["mixed"].most_contested == (6, 1, 3), "those on which opinions differ stand first"
    assert by_class["haze"].best_kept == (0,) and by_class["haze"].worst_kept == ()


def test_pictures_lead_and_their_strongest_evidence_is_written_in_words() -> None:
    page = Page(report(facts(61), created="x"))
    kinds = ["Best kept", "Worst kept", "Best rejected", "Most contested"]
    titles = [word for word in page.words if word in kinds]
    assert [titles.count(kind) for kind in kinds] == [6, 6, 6, 6], "three of each kind and class"
    assert "Halos: 5.1; the maximum is 5." in page.words and "Halos: 3.3; people decide above 3." in page.words
    order = [
        page.text.index(word) for word in ("Best kept", "The funnel", "Money", "Agreement", "Calibration", "Halos ")
    ]
    assert order[0] < order[1] < order[2] < order[3] < order[4]
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert all(re.fullmatch(r"(Photograph|Restoration) of k\d+, (haze|mixed)", str(each["alt"])) for each in images)


def test_each_histogram_shows_bounds_and_meaning() -> None:
    page = Page(report(facts(61), created="x"))
    assert "Grey levels by which the candidate overshoots its surroundings next to edges; 0 is none." in page.words
    assert [word for word in page.words if "rejected above 5" in word] == [
        f"{name}; people decide above 3; rejected above 5" for name in ("haze", "mixed")
    ]
    html = report(facts(61, gate=DEFAULT_GATE.read_text(encoding="utf-8")), created="x")
    assert (
        "people decide above 0.43; rejected above 0.8" in html.replace("\n", "") and "98 synthetic candidates" in html
    )


def test_money_and_agreement_are_shown() -> None:
    decisions = [
        Decision(
            id=f"{number}{name}", reviewer=name, candidate=f"c{number:05}", image="i", decision=decision, reason="",
            known_answer="", queue="audit", gate_decision="keep", undoes="", seconds=2.0,
            created=f"2026-01-01T00:00:0{number}Z",
        )
        for number in range(3)
        for name, decision in (("Anna", "keep"), ("Bo<b>", "keep" if number else "reject"))
    ]  # fmt: skip
    reviews = summarize_reviews(decisions, {f"c{number:05}": "i" for number in range(3)})
    calls = [("restore", "model<b>", "ok", 60, 3.1), ("screen", "vlm", "timeout", 2, math.nan)]
    page = Page(report(dataclasses.replace(facts(61), calls=calls, reviews=reviews), created="x"))
    assert "cost 3.10 USD, 0.1000 USD for each kept candidate" in page.text and "model<b>" in page.words
    assert "Anna and Bo<b> : 2 of 3 the same" in page.text
    first = page.text.index("Most contested")
    assert "k00000" in page.text[first : first + 700], "reviewers disagree on it"


@pytest.mark.slow
def test_in_a_browser_pairs_become_sliders_and_filters_hide_what_does_not_match(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(report(facts(61), created="x"), encoding="utf-8")
    with browser() as chromium:
        for width in (390, 1280, 2560):
            page = chromium.new_page(viewport={"width": width, "height": 800})
            wrong: list[str] = []
            page.on("console", lambda message, wrong=wrong: wrong.append(message.text))
            page.on("request", lambda asked, wrong=wrong: wrong.append(asked.url) if "http" in asked.url else None)
            page.goto(file.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
            assert wrong == []
        slider = page.locator(".wipe input").first
        slider.focus()
        for _ in range(10):
            page.keyboard.press("ArrowLeft")
        assert page.locator(".wipe").first.evaluate("pair => pair.style.getPropertyValue('--at')") == "40%"
        shown = page.locator("figure.card:visible")
        before = shown.count()
        page.select_option("[name=class]", "haze")
        assert 0 < shown.count() < before and set(shown.evaluate_all("all => all.map(c => c.dataset.class)")) == {
            "haze"
        }
        page.select_option("[name=restorer]", "classical-1")
        assert shown.count() > 0 and page.locator("section[data-group] h3:visible").first.inner_text() == "haze"
        plain = chromium.new_context(java_script_enabled=False).new_page()
        plain.goto(file.as_uri())
        assert (
            plain.locator(".pair").first.locator("img:visible").count() == 2
            and not plain.locator("#filters").is_visible()
        )


def test_one_rule_rejects_what_all_others_find_good() -> None:
    alone, two, near = {"halo": 9.0}, {"halo": 9.0, "shift": 2.0}, {"halo": 9.0, "shift": 0.9}
    drawn = random.Random(1)
    rest = [
        {**{m: v * drawn.uniform(0.9, 1.1) for m, v in GOOD.items()}, "shift": drawn.uniform(0, 0.9)} for _ in range(40)
    ]
    found, judged = asked([{**GOOD, **changes} for changes in (alone, two, near)] + rest)
    assert [(highlight.index, len(highlight.notes)) for highlight in rejected_by_one_rule(found, judged, 5)] == [(0, 1)]
    assert rejected_by_one_rule(found, judged, 5)[0].notes[0].startswith("halo 9.000 > 3.000, -")


def test_correlated_metrics_and_their_exceptions() -> None:
    drawn = np.random.default_rng(1)
    a = np.arange(200.0)
    b, opposite, other = np.exp(a / 50), -a, drawn.permutation(a)
    b[7] = 1e9
    holes = np.where(a < 10, math.nan, a)
    few = np.where(a < 180, math.nan, a)
    found = correlated_metrics({"a": a, "b": b, "flat": a * 0, "other": other, "few": few}, 5, 3)
    assert [(one.first, one.second, one.count) for one in found] == [("a", "b", 200)]
    assert found[0].correlation == pytest.approx(1 - 6 * (192**2 + 192) / (200 * (200**2 - 1)))
    assert [highlight.index for highlight in found[0].exceptions] == [7]
    assert found[0].exceptions[0].notes == ("a: above 4% of all", "b: above 100% of all")
    against = correlated_metrics({"a": a, "z": opposite, "holes": holes}, 2, 3)
    assert [(one.first, one.second, round(one.correlation, 6), one.count, one.exceptions) for one in against] == [
        ("a", "holes", 1.0, 190, ()), ("a", "z", -1.0, 200, ()),
    ]  # fmt: skip


# --- figures ----------------------------------------------------------------------------------------------------------


def test_a_histogram_is_stacked_and_full_height_at_its_highest() -> None:
    plot = histogram([np.array([0.0, 0.0, math.nan]), np.array([0.0, 9.0])], 0.0, 1.0, [0.25])
    assert plot["lines"] == ["25.0"]
    top, bottom = plot["paths"]  # the upper one is drawn first
    assert top.startswith(f"M0 {HEIGHT}V0.0h10.0") and top.endswith(f"V{HEIGHT - HEIGHT / 3:.1f}h10.0V{HEIGHT}z")
    assert bottom.startswith(f"M0 {HEIGHT}V{HEIGHT - 2 * HEIGHT / 3:.1f}h10.0V{HEIGHT:.1f}h10.0")


def test_a_range_holds_the_bounds_and_is_never_empty() -> None:
    assert axis_range(np.array([1.0, 2.0, math.nan]), [5.0]) == pytest.approx((1.0 + 0.01 - 0.1197, 5.0 + 0.1197))
    for values in (np.array([]), np.array([math.nan]), np.array([3.0])):
        low, high = axis_range(values, [])
        assert low < high


# --- the verb ---------------------------------------------------------------------------------------------------------


def ggt(*argv: object) -> int:
    parser = argparse.ArgumentParser()
    verb.arguments(parser)
    return verb.run(parser.parse_args([str(one) for one in argv]))


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    with Ledger(tmp_path / "w", create=True) as ledger:
        for number in range(6):
            lq = ledger.put_image(encode_png(picture(number)))
            photo = dataclasses.replace(make_pair(Store(), number, "mixed").photo, image=lq, file=NASTY)
            name = f"c{number}"
            ledger.add(
                photo,
                candidate(name, photo.key),
                Aligned(candidate=name, version="1", image=lq, reason=""),
                *(
                    Score(candidate=name, metric=metric, metric_version="1", value=value)
                    for metric, value in {**GOOD, "halo": float(number)}.items()
                ),
            )
    (tmp_path / "gate.toml").write_text(TEXT, encoding="utf-8")
    return tmp_path / "w"


def test_the_verb_writes_one_file(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        ggt(workspace)
    assert str(caught.value) == f"{workspace}: nothing has been judged. Run: ggt100k verdict {workspace}"
    gate = workspace.parent / "gate.toml"
    assert main(["verdict", str(workspace), "--gate", str(gate)]) == 0
    gate.unlink()  # the ledger keeps its text
    capsys.readouterr()
    assert ggt(workspace) == 0
    assert capsys.readouterr().out == (f"report: 6 candidates\n  written: {workspace / 'report.html'}, 0.1 MB\n")
    page = Page((workspace / "report.html").read_text(encoding="utf-8"))
    assert "mixed 4 2 0" in page.text
    assert sum(tag == "img" for tag, _ in page.tags) == 2 * 6, "4 kept and 2 unsure"
    with pytest.raises(ConfigError, match=r"its folder does not exist\. Create the folder first\."):
        ggt(workspace, "--out", workspace / "no" / "r.html")


def test_run_names_the_file_and_the_number_of_candidates(workspace: Path, tmp_path: Path) -> None:
    assert main(["verdict", str(workspace), "--gate", str(workspace.parent / "gate.toml")]) == 0
    summary = run(workspace, ReportConfig(out=tmp_path / "r.html"))
    assert summary.counts == {"candidates": 6} and summary.paths == (str(tmp_path / "r.html"),)
    assert (tmp_path / "r.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_workspace_judged_by_two_gates_is_refused(workspace: Path) -> None:
    other = workspace.parent / "other.toml"
    other.write_text(TEXT + "# another\n", encoding="utf-8")
    assert main(["verdict", str(workspace), "--gate", str(workspace.parent / "gate.toml")]) == 0
    assert main(["verdict", str(workspace), "--gate", str(other), "--limit", "1"]) == 0
    with pytest.raises(ConfigError, match="judged by more than one gate"):
        ggt(workspace)


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ConfigError) as caught:
        report(facts(3), created="x")
    assert str(caught.value) == "jinja2 is not installed. Install it: pip install 'ggt100k[report]'"
