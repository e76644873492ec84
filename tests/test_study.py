"""study: the plan's faults, the ranking against known strengths, the recommendation, and a study on loopback."""

from __future__ import annotations

import csv
import io
import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ggt100k import pair_key
from ggt_format.png import encode_png
from ggt_tools.cli import main
from ggt_tools.errors import ConfigError, ShardError
from ggt_tools.events import Recorded
from ggt_tools.providers.service import ServiceConfig
from ggt_tools.records import Aligned, Candidate, Choice, Entry, Photo, Study
from ggt_tools.review.comparisons import ComparisonDesk, compared_groups
from ggt_tools.review.submissions import SubmittedChoice
from ggt_tools.stages.study import StudyFacts, choices_in_force, study
from ggt_tools.stages.study.page import result_csv, study_page
from ggt_tools.stages.study.plan import load_plan, parse_plan
from ggt_tools.stages.study.ranking import ObservedChoice, RankedEntrant, fit_strengths, rank
from ggt_tools.stages.study.recommendation import recommend
from ggt_tools.stages.study.result import ALL, Interval, StudyRow
from ggt_tools.stages.study.run import StudyConfig, choose_pictures, read_facts, run
from ggt_tools.workspace.ledger import Ledger

from .browsing import DONE, SHOWN, browser, served
from .making import Store, make_pair, picture
from .models import KEY, Asked, Models, Reply, png
from .photographs import crop

NINE = Path(__file__).parent.parent / "dataset_card" / "nine_models.toml"
PLAN = """
name = "three <models>"
prompts = ["fixed"]
screen = ""
[criteria]
fidelity = ["structure", "-chroma_drift"]
quality = ["sharpness_gain"]
[[model]]
with = "classical"
"""


def plan(text: str = PLAN) -> Any:
    return parse_plan(Path("plan.toml"), text)


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_a_plan_has_defaults() -> None:
    one = plan()
    assert (one.name, one.best_of, one.reviewers) == ("three <models>", 2, 1)
    assert (one.metrics, one.writer) == (("core",), "gemini")
    assert one.models[0].name == "classical" == one.models[0].restorer and one.models[0].prompts == ("fixed",)
    assert one.id == plan().id != plan(PLAN + "# another\n").id


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("name =", "nmae ="), "plan.toml: 'nmae' is not known. Did you mean name"),
        (('name = "three <models>"', ""), "plan.toml: name: is missing. Write a text."),
        (('prompts = ["fixed"]', 'prompts = ["fxed"]'), "plan.toml: prompts: 'fxed' is not known. Did you mean fixed"),
        (
            ('["structure",', '["structur",'),
            "plan.toml: [criteria] fidelity: 'structur' is not known. ",
        ),
        (
            ('screen = ""', "best_of = 9"),
            "plan.toml: best_of: 9: the number of restorations shown at a time must be 2 to 6.",
        ),
        (('screen = ""', "reviewers = true"), "plan.toml: reviewers: True is not a whole number of 1 or more."),
        (('with = "classical"', 'wiht = "x"'), "plan.toml: model 1: 'wiht' is not known. Did you mean with"),
        (('with = "classical"', 'with = ""'), "plan.toml: model 1: with: is missing. Write a text."),
        (("[[model]]", "[model]"), "plan.toml: [[model]]: there is none. Add one or more."),
        (
            ("[criteria]", "[[model]]\nwith = 'classical'\n[criteria]"),
            "two models are named 'classical'. Give each a name",
        ),
        (("[criteria]", "[criteria"), "plan.toml: is not valid TOML: "),
    ],
)
def test_a_wrong_plan_names_the_entry(change: tuple[str, str], said: str) -> None:
    assert change[0] in PLAN
    with pytest.raises(ConfigError) as caught:
        plan(PLAN.replace(*change))
    assert said in str(caught.value)


def test_a_missing_plan(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.toml: the plan cannot be read: "):
        load_plan(tmp_path / "no.toml")


# --- the ranking ------------------------------------------------------------------------------------------------------


def chosen(*rows: tuple[str, str, int], keys: int = 10) -> list[ObservedChoice]:
    """`count` times `winner` over `loser`, spread over photographs."""
    return [
        ObservedChoice(key=f"k{at % keys}", shown=(winner, loser), best=winner)
        for winner, loser, count in rows
        for at in range(count)
    ]


def test_two_strengths_are_the_log_of_their_odds() -> None:
    theta = fit_strengths(np.array([[0, 1]] * 2), np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([3000.0, 1000.0]), 2)
    assert theta[0] - theta[1] == pytest.approx(math.log(3), abs=0.002)
    luce = fit_strengths(np.array([[0, 1, 2]] * 3), np.eye(3), np.array([5000.0, 3000.0, 2000.0]), 3)
    assert np.exp(luce) / np.exp(luce).sum() == pytest.approx([0.5, 0.3, 0.2], abs=0.001)


def test_an_entrant_that_always_wins_has_a_finite_strength_and_a_tie_counts_half() -> None:
    first, second = rank(chosen(("a", "b", 20)), ["a", "b"], draws=20)
    assert (first.name, second.name) == ("a", "b") and 0.9 < first.preferred < 1.0
    even = rank([ObservedChoice(key=f"k{at}", shown=("a", "b"), best="") for at in range(20)], ["a", "b"], draws=20)
    assert [one.preferred for one in even] == pytest.approx([0.5, 0.5])
    assert rank([], ["a", "b"]) == [] and rank(chosen(("a", "a", 0)), ["a"]) == []


def simulated(strengths: dict[str, float], count: int, shown: int, seed: int) -> list[ObservedChoice]:
    drawn = random.Random(seed)
    found = []
    for at in range(count):
        some = drawn.sample(sorted(strengths), shown)
        weights = [math.exp(strengths[name]) for name in some]
        found.append(ObservedChoice(key=f"k{at % 40}", shown=tuple(some), best=drawn.choices(some, weights)[0]))
    return found


@pytest.mark.parametrize("shown", [2, 4])
def test_known_strengths_are_found_and_the_intervals_hold_them(shown: int) -> None:
    true = {"a": 1.2, "b": 0.5, "c": 0.0, "d": -0.4, "e": -1.3}
    ranked = rank(simulated(true, 800, shown, 3), sorted(true), draws=100)
    assert [one.name for one in ranked] == list("abcde")
    assert sum(one.low <= true[one.name] <= one.high for one in ranked) >= 4
    assert all(one.preferred_low <= one.preferred <= one.preferred_high for one in ranked)
    assert sum(one.choices for one in ranked) == 800 * shown
    few = rank(simulated(true, 60, shown, 3), sorted(true), draws=100)
    width = {one.name: one.high - one.low for one in ranked}
    assert all(one.high - one.low > width[one.name] for one in few), "fewer choices leave more open"


# --- which comparisons ------------------------------------------------------------------------------------------------


def test_every_two_candidates_meet_in_a_group() -> None:
    names = [f"c{at}" for at in range(9)]
    assert len(compared_groups("k", names, 2)) == 36 and compared_groups("k", ["c1"], 2) == []
    threes = compared_groups("k", names, 3)
    assert all(len(set(some)) == 3 for some in threes)
    met = Counter(pair for some in threes for pair in combinations(some, 2))
    assert len(met) == 36 and max(met.values()) <= 3 and 12 <= len(threes) <= 18


# --- the recommendation -----------------------------------------------------------------------------------------------


def row(
    entrant: str, *, fidelity: float, preferred: float = math.nan, degradation: str = ALL, **changes: Any
) -> StudyRow:
    def near(value: float) -> Interval:
        return Interval(value=value, low=value - 0.03, high=value + 0.03)

    values: dict[str, Any] = {
        "degradation": degradation, "entrant": entrant, "photographs": 20, "of": 20, "fidelity": near(fidelity),
        "quality": near(0.5), "vlm": near(70.0), "preferred": near(preferred), "choices": 100, "usd": math.nan,
    }  # fmt: skip
    return StudyRow(**(values | changes))


def ranked(*entrants: tuple[str, float, float], choices: int = 100) -> list[RankedEntrant]:
    return [
        RankedEntrant(
            name=name, strength=p, low=p, high=p, preferred=p, preferred_low=p, preferred_high=p, choices=choices,
            not_best=not_best,
        )
        for name, p, not_best in entrants
    ]  # fmt: skip


def test_the_most_faithful_entrant_that_is_not_clearly_behind_is_recommended() -> None:
    rows = [row("pretty", fidelity=0.3, preferred=0.7), row("true", fidelity=0.6, preferred=0.68),
            row("truest", fidelity=0.9, preferred=0.2)]  # fmt: skip
    people = ranked(("pretty", 0.7, 0.4), ("true", 0.68, 0.6), ("truest", 0.2, 1.0))
    name, reasons, cautions = recommend(rows, people)
    assert name == "true"
    assert reasons[0] == (
        "People prefer it to another entrant in 68 % (65 to 71 %) of choices. They prefer pretty most, but it is not "
        "clearly ahead: in 40 % of the bootstrap's draws true was the best."
    )
    assert reasons[1].startswith("Its content fidelity is the best of the 2 that are not clearly behind: it beats 60 %")
    assert cautions == ["truest is clearly ahead in content fidelity."]


def test_cautions_name_what_is_against_the_recommendation() -> None:
    rows = [
        row("a", fidelity=0.6, preferred=0.8, usd=0.25), row("b", fidelity=0.5, preferred=0.4),
        row("c", fidelity=0.9, preferred=0.9, photographs=12),
        row("a", fidelity=0.6, preferred=0.3, degradation="rain"),
        row("b", fidelity=0.5, preferred=0.9, degradation="rain"),
    ]  # fmt: skip
    name, reasons, cautions = recommend(rows, ranked(("a", 0.8, 0.0), ("b", 0.4, 1.0), choices=5))
    assert name == "a" and "It costs 0.250 usd a photograph." in reasons
    assert reasons[0].endswith("more than any other.")
    assert cautions[0] == "c is left out: it has no result for 8 of 20 photographs."
    assert "Some entrants were shown fewer than 30 times, so the ranking may still change." in cautions
    assert "For rain, people clearly prefer b." in cautions
    name, reasons, cautions = recommend(rows[:2], [])
    assert name == "a" and "Nobody has chosen yet, so the preference of people is not known." in cautions
    assert recommend([], []) == ("", ["There are no results yet."], [])


def study_facts(scores: dict[str, dict[str, float]], choices: list[Choice]) -> StudyFacts:
    photos = {
        f"k{at}": replace(make_pair(Store(), at, "rain" if at % 2 else "haze").photo, key=f"k{at}") for at in range(4)
    }
    entries = {name: {key: f"{name}-{key}" for key in photos} for name in ("a", "b<i>", "c")}
    by_candidate = {one: scores[name] for name, by_key in entries.items() for one in by_key.values()}
    return StudyFacts(
        plan=plan(), entries=entries, photos=photos, scores=by_candidate, choices=choices, usd={"a-k0": 0.1}
    )


def choice(key: str, shown: tuple[str, ...], best: str, **changes: Any) -> Choice:
    return Choice(
        **({"id": f"{key}{shown}", "study": "s", "key": key, "shown": shown, "best": best, "reviewer": "Anna",
            "seconds": 3.0, "undoes": "", "created": "2026-01-01T00:00:00Z"} | changes)
    )  # fmt: skip


def test_the_table_counts_by_class_and_the_page_escapes() -> None:
    choices = [choice(f"k{at}", (f"a-k{at}", f"c-k{at}"), f"a-k{at}") for at in range(4)]
    undone = choice("k0", (), "", id="u", undoes=choices[0].id)
    assert choices_in_force([*choices, undone]) == choices[1:]
    scores = {
        "a": {"structure": 0.9, "chroma_drift": 0.1, "sharpness_gain": 1.0, "vlm_fidelity": 80, "vlm_quality": 60},
        "b<i>": {"structure": 0.8, "chroma_drift": 0.1, "sharpness_gain": math.nan},
        "c": {"structure": 0.1, "chroma_drift": 0.5, "sharpness_gain": 2.0},
    }
    found = study(study_facts(scores, choices), draws=50)
    assert found.degradations == [ALL, "haze", "rain"]
    by_name = {one.entrant: one for one in found.rows_of(ALL)}
    assert by_name["a"].fidelity.value == pytest.approx(
        (1.0 + 0.75) / 2
    )  # first of three; half of a tie, and one below
    assert by_name["b<i>"].fidelity.value == pytest.approx((0.5 + 0.75) / 2)
    assert (by_name["a"].quality.value, by_name["c"].quality.value) == (0.0, 1.0)
    assert math.isnan(by_name["b<i>"].quality.value) and math.isnan(by_name["b<i>"].preferred.value)
    assert by_name["a"].vlm.value == 70.0 and by_name["a"].preferred.value > 0.8 > 0.2 > by_name["c"].preferred.value
    assert (by_name["a"].choices, by_name["a"].usd) == (4, 0.1)
    assert found.recommended == "a"
    html = study_page(plan(), found, created="2026-01-01T00:00:00Z")
    assert "b<i>" not in html and "b&lt;i&gt;" in html and "three &lt;models&gt;" in html
    assert html.count("<script") == 1 and "http" not in html.replace("http-equiv", "")
    HTMLParser().feed(html)
    assert html.count("<svg") == 5 and "Take <strong>a</strong>" in html
    rows = list(csv.DictReader(io.StringIO(result_csv(found))))
    assert len(rows) == 9 and (rows[0]["entrant"], rows[0]["fidelity"], rows[0]["vlm"]) == ("a", "0.8750", "70.0000")
    assert rows[2]["preferred"] == ""


def test_the_page_begins_with_a_photograph_of_each_class_restored_by_each_entrant() -> None:
    store = Store()
    facts = study_facts({name: {} for name in ("a", "b<i>", "c")}, [choice("k2", ("a-k2", "c-k2"), "a-k2")])
    names = {key: store.put(encode_png(picture(at))) for at, key in enumerate(facts.photos)}
    facts = replace(facts, photos={key: replace(photo, image=names[key]) for key, photo in facts.photos.items()})
    images = {f"{name}-{key}": names[key] for name in ("a", "b<i>") for key in facts.photos} | {"c-k3": "gone"}
    pictures = choose_pictures(facts, images)
    assert [(one.degradation, one.key) for one in pictures] == [("haze", "k2"), ("rain", "k3")], (
        "choices, then entrants"
    )
    assert pictures[1].restorations == (("a", names["k3"]), ("b<i>", names["k3"]), ("c", "gone"))

    def image(name: str) -> bytes:
        if name == "gone":
            raise ShardError("gone")
        return store.image(name)

    html = study_page(plan(), study(facts, draws=5), created="x", pictures=pictures, image=image)
    assert html.count("<img") == 2 * 2 + 2 * 2 + 1 and html.count("cannot be read") == 1
    assert 0 < html.index('id="pictures"') < html.index('id="table"') and "b<i>" not in html
    assert html.count('data-restorer="b&lt;i&gt;"') == 2 + 3, "pictures, and rows of the tables"


# --- a whole study ----------------------------------------------------------------------------------------------------

STRENGTH = {"best-model": 0, "middling-model": 26, "worst-model": 60}  # grey levels that it adds: fewer are better


def answer(asked: Asked) -> Reply:
    """The photograph, brighter by the model; to whom judges, the more fidelity the less brighter; a prompt; words."""
    if asked.kind == "generate" and asked.options.get("responseMimeType") == "application/json":
        return judged(asked)
    if asked.kind == "chat":
        return judged(asked)
    brighter = STRENGTH.get(asked.model.removeprefix("models/"), 6 + sum(map(ord, asked.model)) % 40)
    return Reply(image=png(np.minimum(asked.pixels.astype(np.int16) + 2 + brighter, 255).astype(np.uint8)))


def judged(asked: Asked) -> Reply:
    if len(asked.images) == 1:  # what is wrong with the photograph?
        return Reply(text=json.dumps({"faults": [], "keep": ["the sky"]}))
    pixels = []
    for data in asked.images:
        with Image.open(io.BytesIO(data)) as image:
            pixels.append(np.asarray(image.convert("RGB"), np.float64))
    first = re.search(r"Image A, the first, is the (\w+)", asked.prompt)
    assert first
    away = abs(pixels[0] - pixels[1]).mean()
    return Reply(
        text=json.dumps({
            "photograph": "A" if first[1] == "photograph" else "B", "defects": [],
            "fidelity": max(0.0, 100.0 - 3 * away), "quality": 70, "mode": "none", "redo": False, "words": "",
        })
    )  # fmt: skip


def make_photos(folder: Path, count: int) -> None:
    folder.mkdir()
    lines = ["file,licence,degradation"]
    for at, name in enumerate(["wine-1", "sunset-1", "friends-1", "life-1"][:count]):
        Image.fromarray(crop(name, 512)).save(folder / f"{name}.png")
        lines.append(f"{name}.png,CC-BY-4.0,{'rain' if at % 2 else 'haze'}")
    (folder / "credits.csv").write_text("\n".join(lines), encoding="utf-8")


def small_workspace(folder: Path, count: int) -> dict[str, Any]:
    """A workspace of crops that are smaller than ingest takes them; the photographs by file name."""
    found = {}
    with Ledger(folder, create=True) as ledger:
        for at, name in enumerate(["wine-1", "sunset-1", "friends-1", "life-1"][:count]):
            pixels = crop(name, 160, 200, 200)
            facts = {"key": pair_key(pixels), "image": ledger.put_image(encode_png(pixels)), "file": f"{name}.png"}
            ledger.add(make_pair(Store(), at, "rain" if at % 2 else "haze", **facts, width=160, height=160).photo)
            found[f"{name}.png"] = pixels
    return found


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMINI_API_KEY", "OPENAI_API_KEY", "OPENAI_COMPATIBLE_API_KEY"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as found:
        yield found


THREE = """
name = "three models"
prompts = ["fixed"]
screen = "gemini:judge"
metrics = ["structure", "chroma_drift", "sharpness_gain"]
[criteria]
fidelity = ["structure", "-chroma_drift"]
quality = ["sharpness_gain"]
[[model]]
name = "one"
with = "gemini:middling-model"
[[model]]
name = "two"
with = "openai-compatible:best-model"
[[model]]
name = "three, <b>elsewhere</b>"
with = "folder"
options = { path = "ELSEWHERE", model = "worst-model" }
"""


@pytest.mark.slow
def test_three_models_whose_order_is_known_and_found_on_the_page(
    tmp_path: Path, chromium: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name, pixels in small_workspace(tmp_path / "w", 4).items():
        Image.fromarray(np.minimum(pixels.astype(np.int16) + 62, 255).astype(np.uint8)).save(elsewhere / name)
    file = tmp_path / "three.toml"
    file.write_text(THREE.replace("ELSEWHERE", str(elsewhere)), encoding="utf-8")
    workspace, out = tmp_path / "w", tmp_path / "study.html"
    argv = ["study", str(workspace), "--plan", str(file), "--out", str(out), "--price", "0.01"]
    with Models(answer) as models:
        servers = ["--server", f"gemini={models.url}", "--server", f"openai-compatible={models.v1}"]
        assert main([*argv, *servers]) == 0
        asked = len(models.asked)
        said = capsys.readouterr().out
        assert "people choose on the review page" in said and "Nobody has chosen yet" in said
        assert main([*argv, *servers]) == 0
        assert len(models.asked) == asked, "nothing is asked twice"
    capsys.readouterr()
    with Ledger(workspace) as ledger:
        entries = list(ledger.all(Entry))
        entrant = {entry.candidate: entry.entrant for entry in entries}
        made = {one.id: one.restorer for one in ledger.all(Candidate)}
    assert Counter(entrant.values()) == {"one": 4, "two": 4, "three, <b>elsewhere</b>": 4}
    order = ["best-model", "middling-model", "worst-model"]

    def better(shown: tuple[str, ...]) -> int:
        return 1 + min(range(len(shown)), key=lambda at: order.index(made[shown[at]]))

    with served(workspace) as site:
        page = site.enter(chromium, "Anna", "/study")
        looks: dict[str, tuple[str, ...]] = {}
        with Ledger(workspace) as ledger:
            desk = ComparisonDesk(ledger, clock=lambda: "", monotonic=lambda: 0.0)
            looks = {look.id: look.candidates for look in desk.hand_out("Anna", "p", 100)}
        assert len(looks) == 12
        left = []
        turns = 0
        while page.wait_for_selector(f"{SHOWN}, {DONE}").get_attribute("data-state") == "shown":
            look = page.get_attribute("#sitting", "data-look")
            shown = looks[look]
            left.append(made[shown[0]])
            text = page.inner_text("body")
            assert not any(word in text for word in ("best-model", "middling", "worst", "elsewhere")), "blind"
            page.keyboard.press("0" if turns == 0 else str(better(shown)))
            page.wait_for_function("before => document.getElementById('sitting').dataset.look !== before", arg=look)
            turns += 1
            if turns == 1:
                page.wait_for_selector('#sitting[data-pending="0"]')
                page.keyboard.press("z")
                page.wait_for_selector(f'#sitting[data-look="{look}"]')
        assert turns == 13 and "All comparisons are made" in page.inner_text("#status")
        assert len(set(left)) > 1 and page.wrong == [], "not always the same on the left"
        page.wait_for_selector('#sitting[data-pending="0"]')
    with Ledger(workspace) as ledger:
        choices = list(ledger.all(Choice))
    assert len(choices) == 14 and len(choices_in_force(choices)) == 12, "undoing deletes nothing"
    assert main(["study", str(workspace), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert [line.split("  ")[0] for line in lines[2:5]] == ["two", "one", "three, <b>elsewhere</b>"], said
    assert "study: take two" in lines
    assert "three, &lt;b&gt;elsewhere&lt;/b&gt;" in out.read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "study.csv").read_text(encoding="utf-8"))))
    assert {one["degradation"] for one in rows} == {"all", "haze", "rain"} and len(rows) == 9
    vlm = {one["entrant"]: float(one["vlm"]) for one in rows if one["degradation"] == "all"}
    assert vlm["two"] > vlm["one"] > vlm["three, <b>elsewhere</b>"]


@pytest.mark.slow
def test_the_nine_model_plan_runs_end_to_end_on_loopback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nine = load_plan(NINE)
    assert len(nine.models) == 9 and all(model.prompts == ("fixed", "vlm") for model in nine.models)
    assert nine.folder.joinpath("credits.csv").is_file()
    text = NINE.read_text(encoding="utf-8").replace('photographs = "sample"', "")
    text = text.replace('metrics = ["core"]', 'metrics = ["structure", "sharpness_gain"]')
    (tmp_path / "nine.toml").write_text(text, encoding="utf-8")
    argv = ["study", str(tmp_path / "w"), "--plan", str(tmp_path / "nine.toml"), "--price", "0.01"]
    assert main([*argv, "--dry-run"]) == 0
    assert capsys.readouterr().out.count("would restore with ") == 9 and not (tmp_path / "w").exists()
    small_workspace(tmp_path / "w", 1)
    with Models(answer) as models:
        servers = [f"{maker}={url}" for maker, url in
                   (("gemini", models.url), ("openai", models.v1), ("openai-compatible", models.v1))]  # fmt: skip
        code = main([*argv, *(word for server in servers for word in ("--server", server))])
    done = capsys.readouterr()
    assert code == 0, done.err
    with Ledger(tmp_path / "w") as ledger:
        entries = list(ledger.all(Entry))
        made = [one for one in ledger.all(Candidate) if one.image]
    assert len(entries) == 18 == len({entry.entrant for entry in entries}) == len(made)
    assert "Nano Banana 2, vlm" in {entry.entrant for entry in entries}
    assert done.out.count("1 of 1") == 18 and "study: take " in done.out


@pytest.mark.slow
def test_a_model_without_a_key_is_a_failure_and_the_others_are_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    make_photos(tmp_path / "photos", 1)
    (tmp_path / "p.toml").write_text(
        'name = "p"\nphotographs = "photos"\nscreen = ""\nmetrics = ["structure"]\n'
        '[[model]]\nwith = "openai"\n[[model]]\nwith = "classical"\n',
        encoding="utf-8",
    )
    assert main(["study", str(tmp_path / "w"), "--plan", str(tmp_path / "p.toml")]) == 1
    done = capsys.readouterr()
    assert "ggt100k study: openai: OPENAI_API_KEY: is not set" in done.err
    assert "study: take classical" in done.out
    assert "openai" not in done.out.split("entrant")[1]
    assert (
        main(["study", str(tmp_path / "w"), "--server", "gemini=http://127.0.0.1:9"]) == 0
    )  # no plan: nothing is made
    assert main(["study", str(tmp_path / "nowhere")]) == 2
    with Ledger(tmp_path / "empty", create=True):
        pass
    assert main(["study", str(tmp_path / "empty")]) == 2
    assert "has no study. Begin one: ggt100k study" in capsys.readouterr().err


def test_run_returns_the_steps_the_failures_and_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    small_workspace(tmp_path / "w", 2)
    file, out, events = tmp_path / "p.toml", tmp_path / "p.html", Recorded()
    models = '[[model]]\nwith = "openai"\n[[model]]\nwith = "classical"\n'
    file.write_text(f'name = "p"\nscreen = ""\nmetrics = ["structure"]\n{models}', encoding="utf-8")
    report = run(tmp_path / "w", StudyConfig(plan=file, out=out), events=events)
    assert [step.stage for step in report.steps] == ["restore", "align", "score"]
    assert report.summary.counts == {"entrants": 1, "photographs": 2, "choices": 0} and report.summary.is_failed
    assert report.summary.paths == (str(out), str(tmp_path / "p.csv")) and out.is_file()
    assert report.failures == tuple(events.warnings) and report.failures[0].startswith("openai: OPENAI_API_KEY")
    assert report.result is not None and report.result.recommended == "classical"
    again = run(tmp_path / "w", StudyConfig())
    assert again.steps == () and again.result == report.result and not again.summary.is_failed


@pytest.mark.parametrize(
    ("service", "said"),
    [(ServiceConfig(base_url="http://x"), "--base-url: "), (ServiceConfig(options={"a": "b"}), "--option: ")],
)
def test_a_server_or_an_option_for_all_models_is_refused(service: ServiceConfig, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        StudyConfig(service=service)


@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_an_impossible_plan_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dry: list[str]
) -> None:
    path = tmp_path / "p.toml"
    head = 'name = "p"\nphotographs = "photos"\nscreen = ""\n'
    argv = ["study", str(tmp_path / "w"), "--plan", str(path), *dry]
    path.write_text(f'{head}[[model]]\nwith = "classical"\n', encoding="utf-8")
    assert main(argv) == 2
    said = f"{path}: photographs: {tmp_path / 'photos'} is not a folder. Name one beside the plan."
    done = capsys.readouterr()
    assert said in done.err and done.out == ""
    (tmp_path / "photos").mkdir()
    path.write_text(f'{head}[[model]]\nwith = "classical"\n[[model]]\nwith = "gemni:x"\n', encoding="utf-8")
    assert main(argv) == 2
    done = capsys.readouterr()
    assert f"{path}: model 'gemni:x': with: there is no restorer 'gemni'. Did you mean gemini?" in done.err
    assert done.out == "" and not (tmp_path / "w").exists()
    text = head.replace('""', '"gemni"')
    path.write_text(f'{text}[[model]]\nwith = "classical"\n', encoding="utf-8")
    assert main(argv) == 2
    assert f"{path}: screen: there is no vision-language model 'gemni'. Known: gemini" in capsys.readouterr().err


def test_no_prompt_is_written_for_a_model_with_wrong_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, path = tmp_path / "w", tmp_path / "p.toml"
    small_workspace(workspace, 1)
    path.write_text(
        'name = "p"\nprompts = ["vlm"]\nscreen = ""\nmetrics = ["structure"]\n'
        '[[model]]\nwith = "gemini"\noptions = { sise = "1K" }\n[[model]]\nwith = "classical"\n',
        encoding="utf-8",
    )
    with Models(answer) as models:
        server = ["--server", f"gemini={models.url}"]
        assert main(["study", str(workspace), "--plan", str(path), "--price", "0.01", *server]) == 1
        assert models.asked == []
    assert "sise" in capsys.readouterr().err


# --- handing out ------------------------------------------------------------------------------------------------------


@pytest.fixture
def nine_candidates(tmp_path: Path) -> Iterator[Ledger]:
    """A study of one photograph, three entrants, each shown once by two people."""
    text = "reviewers = 2\n" + PLAN
    one = plan(text)
    store = Store()
    with Ledger(tmp_path / "w", create=True) as ledger:
        photo: Photo = make_pair(store, 1).photo
        ledger.add(photo, Study(id=one.id, name=one.name, text=one.text, created="2026-01-01T00:00:00Z"))
        for at, name in enumerate("abc"):
            ledger.add(
                Aligned(candidate=name, version="1", image=f"{at}" * 64, reason=""),
                Entry(study=one.id, entrant=name, key=photo.key, candidate=name),
            )
        ledger.add(Entry(study=one.id, entrant="nothing came", key=photo.key, candidate="d"))
        yield ledger


def test_a_comparison_is_handed_out_once_at_a_time_and_stored_once(nine_candidates: Ledger) -> None:
    desk = ComparisonDesk(nine_candidates, clock=lambda: "2026-01-01T00:00:00Z", monotonic=lambda: 0.0)
    anna = desk.hand_out("Anna", "a", 2)
    ben = desk.hand_out("Ben", "b", 10)
    names = [look.comparison.name for look in (*anna, *ben)]
    assert len(names) == 3 == len(set(names))
    first = SubmittedChoice(id="1" * 32, view=anna[0].id, best=1, seconds=2.0)
    assert desk.store("Anna", [first, first]) == [True, False]
    assert desk.store("Anna", [replace(first, id="2" * 32)]) == [False]
    restarted = ComparisonDesk(nine_candidates, clock=lambda: "2026-01-01T00:00:00Z", monotonic=lambda: 0.0)
    assert restarted.store("Anna", [replace(first, view=anna[1].id, id="3" * 32, best=-1)]) == [True]
    assert restarted.progress("Anna") == {"judged": 2, "waiting": 1} and restarted.progress("Ben")["waiting"] == 3
    assert [c.best for c in nine_candidates.all(Choice)] == [anna[0].candidates[1], ""]
    for wrong, said in ((5, "the place of a restoration"), (-2, "the place of a restoration")):
        with pytest.raises(ValueError, match=said):
            restarted.store("Ben", [replace(first, id="4" * 32, view=ben[0].id, best=wrong)])
    with pytest.raises(ValueError, match="This comparison is not shown"):
        restarted.store("Ben", [replace(first, id="5" * 32)])
    back = restarted.undo("Anna", "6" * 32, "a")
    assert back is not None and back.id == anna[1].id and restarted.undo("Anna", "6" * 32, "a") == back
    assert restarted.progress("Anna") == {"judged": 1, "waiting": 2}
    assert restarted.undo("Nobody", "7" * 32, "a") is None


def test_leases_of_comparisons_survive_a_restart(nine_candidates: Ledger) -> None:
    def desk() -> ComparisonDesk:
        return ComparisonDesk(nine_candidates, clock=lambda: "2026-01-01T00:00:00Z", monotonic=lambda: 0.0)

    anna = [look.id for look in desk().hand_out("Anna", "a", 2)]
    restarted = desk()
    restarted.restore_leases("Anna", "a", [*anna, "f" * 16])
    assert len(restarted.hand_out("Ben", "b", 10)) == 1
    assert [look.id for look in restarted.hand_out("Anna", "a", 2)] == anna


def test_a_changed_plan_keeps_answers(nine_candidates: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = nine_candidates
    desk = ComparisonDesk(ledger, clock=lambda: "2026-01-01T00:00:00Z", monotonic=lambda: 0.0)
    for at, look in enumerate(desk.hand_out("Anna", "a", 3)):
        desk.store(
            "Anna",
            [
                SubmittedChoice(
                    id=f"{at}" * 32, view=look.id, best=look.candidates.index(min(look.candidates)), seconds=1
                )
            ],
        )
    first = next(iter(ledger.all(Study)))
    entries = list(ledger.all(Entry))
    changed = plan("# a comment\nreviewers = 2\n" + PLAN)
    ledger.add(Study(id=changed.id, name="changed", text=changed.text, created="2026-01-02T00:00:00Z"))
    ledger.add(*(replace(entry, study=changed.id) for entry in entries if entry.entrant != "c"))
    desk.load()
    assert desk.study is not None and desk.study.id == changed.id
    assert desk.progress("Anna") == {"judged": 1, "waiting": 0}, "c is out of it, a and b were held against each other"
    assert desk.progress("Ben") == {"judged": 0, "waiting": 1}
    facts, newest = read_facts(ledger, "")
    assert (facts.plan.id, newest.id, len(facts.choices)) == (changed.id, changed.id, 1)
    facts, newest = read_facts(ledger, first.id)
    assert (facts.plan.id, newest.id, len(facts.choices)) == (first.id, changed.id, 3)


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ('name = "a"\nwith = "classical"\n[[model]]\nname = "b"\nwith = "classical"',
         "[[model]]: 'a' and 'b' are the same restorer with the same prompts. Remove one, or give it other options."),
        ('name = "a"\nwith = "gemini"\nprompts = ["fixed", "vlm"]\n[[model]]\nname = "a, vlm"\nwith = "classical"',
         "[[model]]: two entrants are named 'a, vlm'. Rename one model."),
    ],
)  # fmt: skip
def test_equal_entrants_are_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], models: str, said: str
) -> None:
    small_workspace(tmp_path / "w", 1)
    path = tmp_path / "p.toml"
    path.write_text(f'name = "p"\nscreen = ""\n[[model]]\n{models}\n', encoding="utf-8")
    assert main(["study", str(tmp_path / "w"), "--plan", str(path)]) == 2
    done = capsys.readouterr()
    assert f"{path}: {said}" in done.err and done.out == ""


def test_a_criterion_that_is_not_measured_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.toml"
    head = 'name = "p"\nscreen = ""\nmetrics = ["core"]\n[criteria]\nfidelity = ["-lpips"]\n'
    path.write_text(f'{head}[[model]]\nwith = "classical"\n', encoding="utf-8")
    assert main(["study", str(tmp_path / "w"), "--plan", str(path)]) == 2
    assert f"{path}: [criteria] fidelity: none of -lpips is measured. Add one to metrics." in capsys.readouterr().err
