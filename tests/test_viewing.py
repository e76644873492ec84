"""view: the filter in the URL and as code, what matches it, thumbnails of few bytes, and the page in a real browser."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import ggt100k
from ggt_tools.cli import main
from ggt_tools.errors import ConfigError
from ggt_tools.viewing.app import web_link
from ggt_tools.viewing.catalogue import Catalogue
from ggt_tools.viewing.map import draw_map, principal_components
from ggt_tools.viewing.pictures import DETAIL, SEAM, Pictures
from ggt_tools.viewing.query import CHOICES, Filter, read_filter
from ggt_tools.viewing.serve import View, ViewConfig
from ggt_tools.web.ranges import InvalidFilter

from .benchmarks.remote import serve
from .benchmarks.viewing import measure_view, stretch_index
from .browsing import Site, browser, viewed
from .hub import Hub, settings
from .making import change_shard, make_dataset

NASTY = '<script>alert("1")</script><img src=x onerror=alert(2)>"\'{{7*7}}'
ROWS = 2000
SPLITS, METRICS = {"train": 1, "test": 1}, ("structure", "gmsd")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of ROWS rows that point to a few tiny pairs, and of two test pairs."""
    folder = make_dataset(tmp_path_factory.mktemp("view") / "ggt-100k", 6, test=0.34)
    stretch_index(folder, ROWS, authors=("Anna", "Bo", NASTY))
    return folder


@pytest.fixture(scope="module")
def catalogue(release: Path) -> Catalogue:
    return Catalogue(ggt100k.open_root(str(release)))


@pytest.fixture(scope="module")
def site(release: Path) -> Iterator[Site]:
    with viewed(release) as site:
        yield site


# --- the filter -------------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=12)
FILTERS = st.builds(
    Filter,
    split=st.sampled_from(list(SPLITS)),
    chosen=st.dictionaries(
        st.sampled_from(list(CHOICES)), st.lists(TEXTS.filter(bool), min_size=1, max_size=3, unique=True).map(tuple)
    ).map(lambda chosen: tuple((column, chosen[column]) for column in CHOICES if column in chosen)),
    text=TEXTS,
    ranges=st.lists(
        st.tuples(
            st.sampled_from(METRICS), st.floats(-9, 9) | st.just(-math.inf), st.floats(-9, 9) | st.just(math.inf)
        ).filter(lambda bounds: math.isfinite(bounds[1]) or math.isfinite(bounds[2])),
        max_size=4,
    ).map(tuple),
    sort=st.sampled_from(["", "gmsd", "-structure"]),
)


@given(FILTERS)
def test_a_filter_lives_in_the_query_of_a_url(filter: Filter) -> None:
    assert read_filter(parse_qsl(filter.query, keep_blank_values=True), SPLITS, METRICS) == filter


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("split=all", "There is no split 'all'. Choose one of train, test."),
        ("sort=-nothing", "There is no score 'nothing' in this release."),
        ("metric=x&low=1", "There is no score 'x' in this release."),
        ("metric=gmsd&low=a", "gmsd: 'a' is not a number. Write one like 0.5, or leave the field empty."),
        (f"q={'a' * 201}", "The text to search for has 201 characters. Give at most 200."),
    ],
)
def test_a_query_that_cannot_be_read_is_refused(query: str, said: str) -> None:
    with pytest.raises(InvalidFilter) as caught:
        read_filter(parse_qsl(query), SPLITS, METRICS)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    "query",
    [
        "", "split=test", "degradation=rain", "degradation=rain&restorer=classical-1&licence=CC0-1.0",
        "metric=structure&low=0.5&high=&metric=gmsd&low=&high=0.6",
        "metric=structure&low=0.4&high=&metric=structure&low=0.3&high=0.7",
        "q=aNNa&degradation=snow", "q=window&metric=gmsd&low=0.5&high=0.6", "q=00000000000000",
        "q=.*", f"q={quote(NASTY)}", "q=%25_'",
    ],
)  # fmt: skip
def test_the_code_opens_the_pairs_that_are_shown(catalogue: Catalogue, query: str) -> None:
    filter = read_filter(parse_qsl(query, keep_blank_values=True), catalogue.splits, catalogue.metrics)
    keys = catalogue.keys(filter)
    names: dict[str, Any] = {}
    if keys:
        exec(filter.code(catalogue.root.url), names)
        pairs = names["pairs"]
        shown = ggt100k.index(catalogue.root.url, filter.split, where=pairs.where, columns=["key"])["key"].to_pylist()
        assert shown == keys and len(pairs) == len(keys)
    else:
        with pytest.raises(ConfigError):
            exec(filter.code(catalogue.root.url), names)
    assert bool(keys) == (query not in ("q=.*", "q=%25_'")), "a text is searched as it is, and is no pattern"


# --- the catalogue ----------------------------------------------------------------------------------------------------


def test_pairs_are_filtered_searched_and_sorted(catalogue: Catalogue) -> None:
    table = pq.read_table(Path(catalogue.root.url) / "index/train.parquet")
    rows = table.to_pylist()
    scores = np.array([row["scores"]["structure"] for row in rows])

    def shown(**filter: Any) -> list[int]:
        return catalogue.rows(Filter(split="train", **filter)).tolist()

    assert shown() == list(range(ROWS))
    assert shown(chosen=(("degradation", ("rain",)),)) == [
        i for i, row in enumerate(rows) if row["degradation"] == "rain"
    ]
    assert shown(text="aNNa") == [i for i, row in enumerate(rows) if row["author"] == "Anna"]
    assert shown(text=NASTY.upper()) == [i for i, row in enumerate(rows) if row["author"] == NASTY]
    assert shown(text="00000000000000FF") == [255]
    assert shown(ranges=(("structure", 0.5, 0.6),)) == np.flatnonzero((scores >= 0.5) & (scores <= 0.6)).tolist()
    assert shown(sort="-structure")[:5] == np.argsort(-scores, kind="stable")[:5].tolist()
    assert shown(chosen=(("licence", ("none",)),)) == []
    assert catalogue.choices("train")["degradation"] == sorted(
        [(name, sum(row["degradation"] == name for row in rows)) for name in ("rain", "snow")],
        key=lambda item: (-item[1], item[0]),
    )
    (card,) = catalogue.cards(Filter(split="train", sort="structure"), np.array([7]))
    assert card == [7, f"{7:016x}", rows[7]["degradation"], "classical-1", "CC0-1.0", scores[7]]
    assert catalogue.find("train", f"{7:016x}") == 7 and catalogue.find("train", "f" * 16) is None


def test_what_was_not_measured_comes_last_in_both_orders(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "r", 8)  # gmsd was measured on every second pair
    catalogue = Catalogue(ggt100k.open_root(str(root)))
    values = pq.read_table(root / "index/train.parquet")["scores"].combine_chunks().field("gmsd").to_numpy()
    for sort in ("gmsd", "-gmsd"):
        order = catalogue.rows(Filter(split="train", sort=sort))
        assert np.isnan(values[order]).tolist() == sorted(np.isnan(values).tolist())
    assert len(catalogue.rows(Filter(split="train", ranges=(("gmsd", -9.0, 9.0),)))) == np.isfinite(values).sum()


def test_a_release_without_pairs_is_refused(release: Path) -> None:
    root = ggt100k.open_root(str(release))
    manifest = {**root.manifest, "splits": {n: {**about, "pairs": 0} for n, about in root.manifest["splits"].items()}}
    with pytest.raises(ConfigError, match="holds no pairs"):
        Catalogue(type(root)(root.url, manifest, root.identity))


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_thumbnail_shows_both_images_and_a_detail_its_own_pixels() -> None:
    root = ggt100k.open_root(str(ggt100k.sample_folder() / "packed"))
    pictures, pair = Pictures(root, nullcontext()), ggt100k.PairDataset(root.url, "train")[0]
    height, width, _ = pair["lq"].shape
    whole = Image.open(io.BytesIO(pictures.thumbnail("train", 0, "whole")))
    assert whole.size == (2 * (width // 2) + SEAM, height // 2)
    for side, left in (("lq", 0), ("gt", width // 2 + SEAM)):
        half = whole.crop((left, 0, left + width // 2, height // 2))
        small = Image.fromarray(pair[side]).reduce(2)
        assert np.abs(np.asarray(half).astype(int) - np.asarray(small)).mean() < 4
    detail = np.asarray(Image.open(io.BytesIO(pictures.thumbnail("train", 0, "detail")))).astype(int)
    top, left = (height - DETAIL) // 2 // 32 * 32, (width - DETAIL) // 2
    for side, start in (("lq", 0), ("gt", DETAIL + SEAM)):
        part = pair[side][top : top + DETAIL, left : left + DETAIL].astype(int)
        assert np.abs(detail[:, start : start + DETAIL] - part).mean() < 6


def test_a_detail_of_a_release_behind_a_url_fetches_few_bytes() -> None:
    folder = ggt100k.sample_folder() / "packed"
    row = pq.read_table(folder / "index/train.parquet").to_pylist()[2]
    with serve(folder) as server:
        pictures = Pictures(ggt100k.open_root(server.url), nullcontext())
        pictures.thumbnail("train", 2, "detail")  # fetches the index as well
        before = server.sent
        pictures.thumbnail.cache_clear()
        pictures.thumbnail("train", 2, "detail")
        sent = server.sent - before
        assert 0 < sent < 0.4 * (row["lq_size"] + row["gt_size"]), "6 of 20 bands"
        data, kind = pictures.image("train", 2, "lq")
        assert kind == "image/png" and len(data) == row["lq_size"]


@pytest.mark.parametrize("flavour", ["jpeg"])
def test_a_release_of_jpegs_is_shown_too(tmp_path: Path, flavour: str) -> None:
    root = ggt100k.open_root(str(make_dataset(tmp_path / "r", 3, codec=flavour)))
    pictures = Pictures(root, nullcontext())
    assert pictures.image("train", 0, "gt")[1] == "image/jpeg"
    for mode in ("whole", "detail"):
        assert Image.open(io.BytesIO(pictures.thumbnail("train", 0, mode))).size == (2 * 90 + SEAM, 70)


# --- the map ----------------------------------------------------------------------------------------------------------


def test_the_map_finds_the_outlier_and_says_what_it_explains() -> None:
    drawn = np.random.default_rng(1)
    first, second = drawn.normal(size=300), drawn.normal(size=300)
    columns = [3 * first, 3 * first + 0.1 * second, first.copy(), second]
    columns[0][7] = columns[1][7] = columns[2][7] = 50.0
    columns[3][5] = math.nan
    places, explained = principal_components([*columns, np.full(300, math.nan), np.ones(300)])
    assert places.shape == (300, 2) and places.min() == 0 and places.max() == 1
    assert places[7, 0] in (0, 1) and explained[0] > 0.6 and 0.9 < explained.sum() <= 1.0001
    for few in ([], [np.array([1.0, 2.0])], [np.ones(5)]):
        assert (principal_components(few)[0] == 0.5).all()
    assert principal_components([first])[0].shape == (300, 2)


def test_the_map_is_bounded(catalogue: Catalogue) -> None:
    found = draw_map(catalogue, Filter(split="train", sort="gmsd"), 100)
    assert (found["shown"], found["total"], len(found["points"])) == (100, ROWS, 100)
    assert found["points"][0][1] == f"{found['points'][0][0]:016x}"
    assert set(found["colours"]) == {"degradation", "restorer", "gmsd"} and len(found["colours"]["gmsd"]) == 100
    json.dumps(found, allow_nan=False)


# --- requests ---------------------------------------------------------------------------------------------------------


def get(site: Site, path: str) -> tuple[int, dict[str, str], bytes]:
    return site.ask("GET", path, headers=site.cookie())


def test_the_first_url_needs_its_token_and_keeps_the_filter(site: Site) -> None:
    first = site.url.removeprefix(site.origin)
    status, _, body = site.ask("GET", f"{first}&degradation=rain&q=%22%3E%3Cscript%3E")
    assert status == 200 and b"<script" not in body
    assert b'content="0;url=/?degradation=rain&amp;q=%22%3E%3Cscript%3E"' in body
    for path in ("/", "/api/rows", "/keys.txt", "/static/grid.js"):
        assert site.ask("GET", path)[0] == 403
        assert get(site, path)[0] == 200
    assert site.ask("GET", "/", headers=site.cookie() | {"Host": "evil.example"})[0] == 421
    assert site.ask("POST", "/", {}, site.cookie())[0] == 405


def test_a_shared_query_opens_with_its_filter(release: Path) -> None:
    with View(release, ViewConfig(port=0, query="?degradation=rain")) as view:
        assert view.url.endswith("&degradation=rain") and view.pair_count == ROWS + 2


def test_rows_are_answered_in_pages_with_the_filter_as_code(site: Site, release: Path) -> None:
    answer = json.loads(get(site, "/api/rows?degradation=rain&sort=gmsd&start=1&count=2")[2])
    assert (
        answer["of"] == ROWS
        and len(answer["rows"]) == 2
        and answer["query"] == "split=train&degradation=rain&sort=gmsd"
    )
    assert answer["code"] == (
        f"import ggt100k\n\npairs = ggt100k.PairDataset('{release}', 'train', where={{'degradation': ['rain']}})\n"
    )
    status, _, body = get(site, "/api/rows?sort=nothing")
    assert status == 400 and json.loads(body) == {"error": "There is no score 'nothing' in this release."}
    keys = get(site, "/keys.txt?degradation=rain")[2].decode().split()
    assert len(keys) == answer["total"] and all(re.fullmatch("[0-9a-f]{16}", key) for key in keys)
    assert get(site, "/keys.txt?split=x")[0] == get(site, "/?split=x")[0] == 400


def test_only_pictures_of_the_release_are_served(site: Site) -> None:
    id = re.search(rb'data-id="(\w+)"', get(site, "/")[2])[1].decode()  # type: ignore[index]
    status, headers, body = get(site, f"/image/{id}/train/3/gt")
    assert (status, headers["content-type"]) == (200, "image/png") and "immutable" in headers["cache-control"]
    assert Image.open(io.BytesIO(body)).size == (90, 70)
    for path in (
        f"/image/{id}/train/3/json", f"/image/{id}/train/{ROWS}/lq", f"/image/{id}/all/0/lq",
        f"/image/{'0' * 16}/train/0/lq",
        f"/thumbnail/{id}/train/0/tiny.jpg", f"/thumbnail/{id}/train/{'9' * 99}/whole.jpg", "/static/../app.py",
        "/static/%2e%2e/app.py", "/pair/train/../../x", "/index/train.parquet", f"/pair/train/{'f' * 16}",
    ):  # fmt: skip
        assert get(site, path)[0] == 404, path


def test_a_release_behind_a_url_is_viewed_by_details(release: Path) -> None:
    with serve(release) as server, viewed(server.url) as site:
        assert b'data-mode="detail"' in get(site, "/")[2]
        answer = json.loads(get(site, "/api/rows?q=anna")[2])
        assert answer["total"] == -(-ROWS // 3) and server.url in answer["code"]


def test_a_tag_on_the_hub_is_viewed_at_its_commit(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub() as hub:
        commit = hub.publish("org/ggt-100k", release, tag="v1.0.0")
        for name, value in settings(hub.url).items():
            monkeypatch.setattr(huggingface_hub.constants, name, value)
        huggingface_hub.HfFileSystem.clear_instance_cache()
        with viewed("hf://datasets/org/ggt-100k@v1.0.0") as site:
            page = get(site, "/")[2].decode()
            assert f'data-url="hf://datasets/org/ggt-100k@{commit}"' in page
            id = re.search(r'data-id="(\w+)"', page)[1]  # type: ignore[index]
            assert get(site, f"/thumbnail/{id}/train/{ROWS - 1}/detail.jpg")[2].startswith(b"\xff\xd8")


def test_the_bench_measures_every_step(release: Path) -> None:
    seconds = measure_view(release)
    assert {"open", "filter by class", "all of these"} < seconds.keys() and min(seconds.values()) > 0


def test_a_damaged_pair_is_an_error_with_its_key(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "r", 3, degradations=["rain"])
    change_shard(root, lambda data: data[:2000] + bytes(len(data) - 2000))
    with viewed(root) as site:
        id = re.search(rb'data-id="(\w+)"', get(site, "/")[2])[1].decode()  # type: ignore[index]
        status, _, body = get(site, f"/thumbnail/{id}/train/0/whole.jpg")
        assert status == 500 and re.search(rb"data/rain/train-00000\.tar: key [0-9a-f]{16}", body)


HOSTILE = st.sampled_from(
    ["javascript:", "data:text/html,", "http:", "https://", "//", "\t", "a@b", "x.org", "/", "\x00", "é"]
)


@given(st.lists(HOSTILE, max_size=6).map("".join))
def test_only_web_links_are_linked(url: str) -> None:
    link = web_link(url)
    assert link in ("", url)
    if link:
        assert re.match(r"https?://[^/@\s]+", link) and link.isprintable()


@pytest.mark.parametrize("url", ["https://example.org/a?b=1", "http://x.org"])
def test_a_usual_url_is_linked(url: str) -> None:
    assert web_link(url) == url
    assert web_link(f"javascript:alert(1)//{url}") == web_link(f" {url}") == web_link("https://user:pass@x.org") == ""


def test_texts_from_outside_are_escaped(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "r", 2, degradations=["rain"], test=0.0)
    path = root / "index/train.parquet"
    table = pq.read_table(path)
    hostile = {"prompt": NASTY, "author": NASTY, "url": "javascript:alert(1)", "licence": NASTY, "source_name": NASTY}
    for name, value in hostile.items():
        values = pa.array([value] * table.num_rows)
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), values)
    pq.write_table(table, path)
    manifest = json.loads((root / ggt100k.MANIFEST).read_text())
    data = path.read_bytes()
    manifest["splits"]["train"]["index"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (root / ggt100k.MANIFEST).write_text(json.dumps(manifest))
    key = table["key"][0].as_py()
    with viewed(root) as site:
        for page in ("/", f"/pair/train/{key}", f"/?q={quote(NASTY)}"):
            status, _, body = get(site, page)
            assert status == 200 and b"<script>alert" not in body and b"<img src=x" not in body
            assert b'href="javascript' not in body
        assert b"javascript:alert(1)" in get(site, f"/pair/train/{key}")[2], "shown as text"


def test_wrong_arguments_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(tmp_path)]) == 2
    assert f"{tmp_path}: " in capsys.readouterr().err
    assert main(["view", "sample", "--revision", "v1"]) == 2
    assert main(["view", "sample", "--port", "99999"]) == 2
    assert "--port 99999: is not a port" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs SIGINT")
def test_ctrl_c_ends_it_with_a_summary() -> None:
    command = [sys.executable, "-u", "-m", "ggt_tools.cli", "view", "sample", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    ) as process:
        assert process.stdout is not None
        site = Site(process.stdout.readline().removeprefix("view: open ").strip())
        assert site.ask("GET", "/")[0] == 403, "it is answered once uvicorn runs, and handles the signal"
        process.send_signal(signal.SIGINT)
        assert (process.communicate(timeout=60)[0], process.returncode) == ("view: 16 pairs\n", 0)


# --- the page in a browser --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as chromium:
        yield chromium


SHOWN, PAIR = "#view[data-first]", '#pair[data-state="shown"]'
NAMELESS = """[...document.querySelectorAll("button, a, input, select, canvas, img")].filter(
    (one) => one.checkVisibility() && !(one.textContent.trim() || one.getAttribute("aria-label") || one.labels?.length
    || one.getAttribute("alt") || one.placeholder)).map((one) => one.outerHTML)"""
FOCUSED = "number => document.activeElement.closest('li')?.dataset.number === number"
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.slow
@pytest.mark.parametrize("root", ["release", "sample"])
def test_at_three_sizes_in_both_colours_everything_is_named_and_fits(root: str, release: Path, chromium: Any) -> None:
    with viewed(release if root == "release" else "sample") as site:
        for width, height in ((390, 844), (1280, 800), (2560, 1440)):
            phone = {"has_touch": True, "is_mobile": True} if width == 390 else {}
            page = site.new_page(chromium, viewport={"width": width, "height": height}, **phone)
            page.goto(site.url)
            page.wait_for_selector(SHOWN)
            alts = page.locator("#grid img").evaluate_all("all => all.map(one => one.alt)")
            assert alts and all(
                re.fullmatch(r"Photograph and restoration, [\w ]+, key [0-9a-f]{16}", alt) for alt in alts
            )
            assert page.evaluate(TOO_WIDE) <= 0 and page.evaluate(NAMELESS) == []
            page.click("#show-map")
            page.wait_for_selector("#legend span")
            page.click("#first-choice summary")
            assert page.evaluate(TOO_WIDE) <= 0 and page.evaluate(NAMELESS) == []
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
                assert (sum(map(int, re.findall(r"\d+", ground)[:3])) > 380) == (scheme == "light")
            page.keyboard.press("Escape")
            page.locator("#grid a").first.click()
            page.wait_for_selector(PAIR)
            assert page.evaluate(TOO_WIDE) <= 0 and page.evaluate(NAMELESS) == []
            assert page.wrong == []
            page.context.close()


@pytest.mark.slow
def test_a_walk_by_keyboard_from_the_filter_to_a_pair_and_back(site: Site, chromium: Any) -> None:
    page = site.new_page(chromium)
    page.goto(f"{site.url}&degradation=rain")
    page.wait_for_selector(SHOWN)
    assert page.url == f"{site.origin}/?degradation=rain"
    total = int(page.inner_text("#count strong").replace(",", ""))
    assert 0 < total < ROWS
    page.focus("input[name=q]")
    page.keyboard.type("anna")
    page.wait_for_function(
        "most => Number(document.querySelector('#count strong').textContent.replace(',', '')) < most", arg=total
    )
    found = int(page.inner_text("#count strong").replace(",", ""))
    assert page.url == f"{site.origin}/?split=train&q=anna&degradation=rain"
    page.focus("#grid")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.closest('li').dataset.number") == "1"
    page.keyboard.press("End")
    page.wait_for_function(FOCUSED, arg=str(found - 1))
    page.keyboard.press("x")
    assert page.inner_text("#selected") == "1"
    top = page.evaluate("scrollY")
    page.keyboard.press("Enter")
    page.wait_for_selector(PAIR)
    assert f"{found} of {found}" in page.inner_text("header") and not page.locator("#after").count()
    for key, view in (("2", "side"), ("3", "difference"), ("v", "wipe")):
        page.keyboard.press(key)
        assert page.get_attribute(f'[data-view="{view}"]', "aria-pressed") == "true"
    for _ in range(8):
        page.keyboard.press("+")
    assert page.inner_text("#zoom") == "8 : 1"
    page.keyboard.press("p")
    page.wait_for_url("**/pair/train/*")
    page.wait_for_selector(f"header >> text={found - 1} of {found}")
    page.wait_for_selector(PAIR)
    page.keyboard.press("b")
    page.wait_for_selector("#grid img")
    assert page.input_value("input[name=q]") == "anna" and page.inner_text("#selected") == "1"
    page.wait_for_function("top => scrollY === top && top > 0", arg=top)
    assert page.wrong == []


@pytest.mark.slow
def test_scores_code_and_selection(site: Site, chromium: Any) -> None:
    page = site.new_page(chromium)
    page.goto(site.url)
    page.wait_for_selector(SHOWN)
    page.click("#ranges summary")
    page.select_option("#ranges select >> nth=0", "structure")
    page.fill("#ranges input[name=low] >> nth=0", "0.6")
    page.wait_for_url("**/?split=train&metric=structure&low=0.6&high=")
    page.wait_for_selector("#count >> text= of 2,000")
    assert page.locator("#ranges .range").count() == 2, "there is room for a second score"
    page.select_option("select[name=sort]", "-structure")
    page.wait_for_selector("#grid .n")
    values = [float(text.split()[-1]) for text in page.locator("#grid .n").all_inner_texts()]
    assert values == sorted(values, reverse=True) and min(values) >= 0.6
    page.click("#show-code")
    code = page.inner_text("#code-text")
    assert "where={'scores.structure': (0.6, None)}" in code
    names: dict[str, Any] = {}
    exec(code, names)
    assert len(names["pairs"]) == int(page.inner_text("#count strong").replace(",", ""))
    page.keyboard.press("Escape")
    keys = []
    for number in (0, 2):
        tile = page.locator("#grid li").nth(number)
        tile.hover()
        tile.locator("input").check()
        keys.append(re.search("key (.*)", tile.locator("img").get_attribute("alt"))[1])  # type: ignore[index]
    with page.expect_download() as download:
        page.click("#selected-keys")
    assert sorted(Path(download.value.path()).read_text().split()) == sorted(keys)
    page.click("#selected-code")
    exec(page.inner_text("#code-text"), names)
    assert len(names["pairs"]) == 2
    page.keyboard.press("Escape")
    page.click("#ranges summary")
    page.fill("input[name=low] >> nth=0", "x")
    page.wait_for_selector("#warning:visible")
    assert page.inner_text("#warning").startswith("structure: 'x' is not a number")
    assert [text for text in page.wrong if "400" not in text] == []


@pytest.mark.slow
def test_of_very_many_pairs_only_the_visible_tiles_exist(tmp_path: Path, chromium: Any) -> None:
    root = make_dataset(tmp_path / "r", 4, test=0.0)
    stretch_index(root, 100_000)
    with viewed(root) as site:
        page = site.new_page(chromium, viewport={"width": 390, "height": 844})
        page.goto(site.url)
        page.wait_for_selector(SHOWN)
        for share, number in ((0.5, 50_000), (1.0, 99_999)):
            page.evaluate(f"scrollTo(0, {share} * document.documentElement.scrollHeight)")
            page.wait_for_function(
                "number => [...document.querySelectorAll('#grid li')].some(tile => tile.querySelector('img')?.complete"
                " && Math.abs(tile.dataset.number - number) < 60 && tile.getBoundingClientRect().top < innerHeight)",
                arg=number,
            )
            assert page.locator("#grid li").count() < 60
        last = page.locator("#grid li").last
        assert last.get_attribute("aria-posinset") == "100000"
        assert last.bounding_box()["y"] < 844, (
            "the last one can be reached, though one column is too high for a browser"
        )
        page.focus("#grid")
        page.keyboard.press("Home")
        page.wait_for_function(FOCUSED, arg="0")
        assert page.evaluate("scrollY") < 600 and page.wrong == []
