"""The static site of a release: what it shows, that texts from outside stay texts, and how it works in a browser."""

from __future__ import annotations

import io
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

import ggt100k
from ggt_format.roots import open_root
from ggt_tools.cli import main
from ggt_tools.errors import ConfigError
from ggt_tools.stages.card.release import Release
from ggt_tools.stages.card.text import markdown
from ggt_tools.stages.pack import PackConfig, pack
from ggt_tools.stages.site import SiteConfig, build_site
from ggt_tools.stages.site.markup import to_html
from ggt_tools.stages.site.run import RECORD, run

from .browsing import browser
from .making import GATE, Store, make_dataset, make_pair

REPO = "some-org/ggt-100k"
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "[a](javascript:alert(1)) `x` **b** &lt;b&gt;",
    "{{ 7*7 }} {% raw %} ]]> -->",
)


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of the sample."""
    out = tmp_path_factory.mktemp("site") / "site"
    assert main(["site", "sample", str(out), "--repo", REPO, "--preview", f"{REPO}-preview"]) == 0
    return out


@pytest.fixture(scope="module")
def release() -> Release:
    return Release.read(open_root(str(ggt100k.sample_folder() / "packed")), REPO)


def test_every_class_has_its_first_pairs_with_author_and_licence(site: Path, release: Release) -> None:
    page = Page((site / "index.html").read_text(encoding="utf-8"))
    rows = {row["key"]: row for row in release.table.to_pylist()}
    shown = Counter(re.findall(r"images/([0-9a-f]{16})-lq-448\.webp", (site / "index.html").read_text()))
    assert set(shown) == set(rows), "the sample has at most eight pairs of a class"
    for row in rows.values():
        assert row["key"] in page.text and (row["author"] or "author not named") in page.text
        assert row["licence"] in page.text
    links = {link["href"] for link in page.of("a")}
    assert {row["url"] for row in rows.values() if row["url"].startswith("http")} <= links
    assert {f"https://huggingface.co/datasets/{REPO}", f"https://huggingface.co/datasets/{REPO}-preview"} <= links


def test_the_site_shows_numbers_funnel_limits_and_loading(site: Path, release: Release) -> None:
    text = " ".join(Page((site / "index.html").read_text(encoding="utf-8")).text.split())
    for name in release.degradations:
        assert name.replace("_", " ") in text
    for stage in release.funnel:
        assert f"{stage.stage}{stage.entered}{stage.left}" in text.replace(" ", "") or stage.stage in text
    assert "Faces: not checked." in text and "arXiv preprint arXiv:2605.31039" in text
    assert f'load_dataset("{REPO}", "mixed", split="train", revision="v1.0.0")' in text
    metrics = [metric for metric in release.metrics if metric in text]
    assert metrics == list(release.metrics)


def test_images_are_small_named_and_of_the_size_that_the_page_states(site: Path) -> None:
    page = Page((site / "index.html").read_text(encoding="utf-8"))
    images = [image for image in page.of("img") if image["alt"]]
    assert len(images) == 2 * (16 + 4)
    for image in images:
        with Image.open(site / str(image["src"])) as opened:
            assert (str(opened.width), str(opened.height)) == (image["width"], image["height"])
            assert max(opened.size) <= 1024
    assert {path.name for path in site.iterdir()} == {"index.html", "images", "site.json", ".nojekyll"}
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < 3_000_000


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    page = Page((site / "index.html").read_text(encoding="utf-8"))
    sources = [attributes.get("src") for _, attributes in page.tags if attributes.get("src")]
    assert all(str(source).startswith("images/") for source in sources)
    assert page.of("link") == [{"rel": "icon", "href": "data:,"}]
    assert not page.of("iframe") and not page.of("form") and "@import" not in page.text


def test_written_again_only_what_changed_is_written(site: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    config = SiteConfig(repo=REPO, preview=f"{REPO}-preview")
    first = run("sample", out, config)
    assert first.counts["unchanged"] == 0
    assert {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()} == {
        p.relative_to(site): p.read_bytes() for p in site.rglob("*") if p.is_file()
    }
    assert run("sample", out, config).counts["written"] == 0
    (out / "images" / "mine.txt").write_text("mine")
    run("sample", out, SiteConfig(repo=REPO, per_class=1))
    names = {path.name for path in (out / "images").iterdir()}
    assert "mine.txt" in names and sum("-448." in name for name in names) == 2 * 5


def test_the_pairs_of_the_large_slider_are_chosen_by_key(release: Release) -> None:
    keys = tuple(release.table["key"].to_pylist()[::-1][:2])
    files = build_site(release, SiteConfig(repo=REPO, hero=keys, per_class=1, codec="jpeg"))
    large = [name for name in files if "-1024." in name]
    assert {name.split("/")[1][:16] for name in large} == set(keys) and all(name.endswith(".jpg") for name in large)
    with Image.open(io.BytesIO(files[large[0]])) as image:
        assert image.format == "JPEG"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"repo": "x"}, "--repo 'x': is not a repository name. Write it as ORG/NAME, for example ORG/ggt-100k."),
        ({"per_class": 61}, "--per-class 61: is not 1 to 60. Give such a number of pairs."),
        ({"hero": ("../x",)}, "--hero ../x: is not a key. Write 16 hexadecimal digits."),
        ({"hero": ("0" * 16,) * 13}, "--hero: 13 pairs are too many. Name at most 12."),
        ({"codec": "png"}, "--codec png: is not a format of the images. Give one of webp, jpeg."),
    ],
)
def test_a_config_that_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as fault:
        SiteConfig(**{"repo": REPO} | values)
    assert str(fault.value) == message


def test_what_must_not_be_published_or_is_not_there_is_refused(release: Release, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as fault:
        build_site(release, SiteConfig(repo=REPO, hero=("0" * 16,)))
    assert str(fault.value) == (f"--hero {'0' * 16}: the release has no pair with this key. Name a key of its index.")
    store = Store()
    pack([make_pair(store, 1, licence="CC-BY-ND-4.0")], store, tmp_path / "r", PackConfig(test=0), gate=GATE)
    with pytest.raises(ConfigError) as fault:
        run(tmp_path / "r", tmp_path / "site", SiteConfig(repo=REPO))
    assert "must stay on this machine" in str(fault.value) and not (tmp_path / "site").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.html").write_text("mine")
    with pytest.raises(ConfigError) as fault:
        run("sample", tmp_path / "mine", SiteConfig(repo=REPO))
    assert str(fault.value) == f"{tmp_path / 'mine'}: holds other files than a site. Name another folder."
    assert (tmp_path / "mine" / "index.html").read_text() == "mine"


def test_texts_from_outside_are_texts(tmp_path: Path) -> None:
    store = Store()
    pairs = [
        make_pair(
            store, seed, "rain", author=text, source_name=text, url=f"javascript://example.org/%0aalert(1)//{text}"
        )
        for seed, text in enumerate(HOSTILE)
    ]
    pack(pairs, store, tmp_path / "r", PackConfig(test=0), gate=GATE)
    (tmp_path / "r" / "CHANGELOG.md").write_text("# Changes\n\n## 1.0.0\n\n- <script>alert(1)</script> &amp; `x`\n")
    run(tmp_path / "r", tmp_path / "site", SiteConfig(repo=REPO))
    html = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    page = Page(html)
    assert len(page.of("script")) == 1
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert all(not str(link["href"]).startswith("javascript") for link in page.of("a"))
    for text in HOSTILE:
        assert text in page.text
    assert "<script>alert(1)</script> &amp; x" in page.text and "Changes between versions" in page.text


ALLOWED = {"p", "ul", "li", "h3", "pre", "code", "a", "strong", "em"}


@given(st.text(alphabet=st.sampled_from("ab <>&;#`*[]()\"'\n-!/:x0"), max_size=60), st.text(max_size=30))
@example("- a\n- `b`", '[x](https://example.org/"onclick=1)')
@example("[x](javascript:alert(1))", "&#60;script&#62;")
@example("```\n<script>\n```", "*a* **b**")
def test_no_text_of_a_section_becomes_a_tag(raw: str, outside: str) -> None:
    page = Page(to_html(f"{raw}\n\n{markdown(outside)}"))
    assert {tag for tag, _ in page.tags} <= ALLOWED
    for tag, attributes in page.tags:
        assert attributes.keys() <= ({"href"} if tag == "a" else set())
        assert tag != "a" or re.match("https?://", attributes["href"] or "")


def test_the_forms_that_sections_use_become_html() -> None:
    section = (
        "One `a < b` *x* **y**,\nand [c](https://example.org/?a=1&b=2).\n\n- one\n  more\n- two\n\n"
        '### H\n\n```py\nx = "<"\n```\n'
    )
    assert to_html(section) == (
        "<p>One <code>a &lt; b</code> <em>x</em> <strong>y</strong>, and "
        '<a href="https://example.org/?a=1&amp;b=2">c</a>.</p>\n<ul><li>one more</li><li>two</li></ul>\n<h3>H</h3>\n'
        "<pre><code>x = &quot;&lt;&quot;</code></pre>"
    )


SHIFT = """
    window.shift = 0;
    new PerformanceObserver(list => {
      for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
    }).observe({type: "layout-shift", buffered: true});
"""
LOADED = """[...document.images].filter(image => image.offsetParent)
    .every(image => image.complete && image.naturalWidth > 0)"""


@pytest.mark.slow
def test_in_a_browser_it_works_at_every_size_in_light_and_dark(site: Path) -> None:
    with browser() as chromium:
        for scheme, width, height in (("light", 360, 740), ("dark", 1280, 900), ("light", 2560, 1300)):
            context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            wrong: list[str] = []
            page.on("console", lambda message, wrong=wrong: wrong.append(message.text))
            page.on("pageerror", lambda error, wrong=wrong: wrong.append(str(error)))
            page.on("requestfailed", lambda asked, wrong=wrong: wrong.append(asked.url))
            page.on("request", lambda asked, wrong=wrong: wrong.append(asked.url) if "http" in asked.url else None)
            page.add_init_script(SHIFT)
            page.goto((site / "index.html").as_uri())
            page.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
            for _ in range(60):  # lazy images load as they come near
                page.mouse.wheel(0, 900)
                page.wait_for_timeout(15)
            for _ in range(100):  # the page's policy allows no wait_for_function
                if page.evaluate(LOADED):
                    break
                page.wait_for_timeout(50)
            assert page.evaluate(LOADED)
            assert page.evaluate("window.shift") < 0.01, "nothing moves while images load"
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
            dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert dark == ("rgb(20, 23, 27)" if scheme == "dark" else "rgb(255, 255, 255)")
            assert wrong == []
            context.close()


@pytest.mark.slow
def test_in_a_browser_the_keyboard_moves_sliders_and_chooses_the_large_pair(site: Path) -> None:
    with browser() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.goto((site / "index.html").as_uri())
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the pairs"
        slides = page.locator(".slide:visible .wipe")
        slides.locator("input").focus()
        for _ in range(10):
            page.keyboard.press("ArrowRight")
        assert slides.evaluate("pair => pair.style.getPropertyValue('--at')") == "60%"
        label = slides.locator("input").get_attribute("aria-label") or ""
        assert label.endswith("share that shows the photograph")
        buttons = page.locator("#choose button")
        assert buttons.count() == 4
        buttons.nth(2).focus()
        page.keyboard.press("Enter")
        assert buttons.nth(2).get_attribute("aria-pressed") == "true"
        assert buttons.nth(0).get_attribute("aria-pressed") == "false"
        assert (slides.get_attribute("data-label") or "") in (buttons.nth(2).get_attribute("aria-label") or "")
        plain = chromium.new_context(java_script_enabled=False).new_page()
        plain.goto((site / "index.html").as_uri())
        assert plain.locator(".pair").first.locator("img:visible").count() == 2
        assert not plain.locator("#choose").is_visible()


def test_the_record_names_every_file(tmp_path: Path) -> None:
    import json

    run(make_dataset(tmp_path / "r", 4), tmp_path / "site", SiteConfig(repo=REPO, per_class=2))
    record = json.loads((tmp_path / "site" / RECORD).read_text())
    files = {
        path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").rglob("*") if path.is_file()
    }
    assert set(record["files"]) | {RECORD} == files and record["release"] == "1.0.0"
