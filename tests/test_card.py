"""card: the page of a dataset folder, read by the Hub's clients, a Markdown parser, mlcroissant and a browser."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import re
import shutil
import string
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pytest
import yaml
from huggingface_hub import DatasetCard, DatasetCardData
from huggingface_hub.repocard import metadata_load
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image

import ggt100k
from ggt_tools.cli import main
from ggt_tools.errors import ConfigError, ShardError
from ggt_tools.evidence import ReviewVotes
from ggt_tools.imaging.contact_sheet import MARGIN, TITLE, WIDTH
from ggt_tools.records import Pair, Stage
from ggt_tools.stages.card import (
    CardOptions,
    card,
    card_texts,
    front_matter,
    plain_features,
    read_options,
    short_readme,
)
from ggt_tools.stages.card.figures import FAINT, FILLS, INK
from ggt_tools.stages.card.run import CardConfig, run
from ggt_tools.stages.card.text import MAX_LENGTH, fenced, markdown, plain, quoted
from ggt_tools.stages.pack import PackConfig, pack

from .hub import Hub
from .making import GATE, Store, make_dataset, make_pair

os.environ["CROISSANT_CACHE"] = f"{os.environ['HF_HOME']}/croissant"  # before it is imported, which reads it once
PROSE = Path(__file__).parents[1] / "dataset_card" / "card"
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
REPO = ggt100k.REPO_ID
FIGURES = ["figures/composition.png", "figures/funnel.png", "figures/sample.jpg", "figures/scores.png"]
NASTY = (
    "<script>alert(1)</script> | **bold** | `code` [a](javascript:alert(1)) ![x](http://x/y.png) $$\\frac{1}{2}$$",
    "]]> --> </details><img src=x onerror=alert(1)> &lt;b&gt; {{ 7*7 }} {% raw %} \\",
    "---\nlicense: mit\n---\n# Heading\n\n```\n</summary>",
    "\u202egnp.exe\t@everyone :smile: www.example.com https://example.com/?a=1&copy=2 #1 ~~gone~~ __u__",
)


def ggt_card(root: Path, *argv: str) -> str:
    """Run the command, which must succeed, and return its output."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(["card", str(root), *argv]) == 0
    return said.getvalue()


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packed sample with its card."""
    root = tmp_path_factory.mktemp("release") / "ggt-100k"
    shutil.copytree(ggt100k.sample_folder() / "packed", root)
    ggt_card(root)
    return root


@pytest.fixture(scope="module")
def manifest(release: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((release / ggt100k.MANIFEST).read_text())
    return found


def nasty_pair(store: Store, seed: int) -> Pair:
    text = NASTY[seed % len(NASTY)]
    pair = make_pair(
        store,
        seed,
        ("rain", "snow")[seed % 2],
        source_name=f"{seed} {text}",
        licence=text if seed < 4 else "CC0-1.0",
        author=text,
        url=f"https://example.org/{text}" if seed < 4 else "javascript://example.org/%0aalert(1)",
    )
    return dataclasses.replace(pair, candidate=dataclasses.replace(pair.candidate, restorer=text, strategy=text))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release whose every text from outside means harm, with a card."""
    root = tmp_path_factory.mktemp("hostile") / "ggt-100k"
    store = Store()
    funnel = [Stage(stage=f"$\\frac$ \x00\x1b {text}", entered=9, left=8, reasons=((text, 1),)) for text in NASTY]
    gate = f"```\n````` </details>\x00\x1b[31m\n# {NASTY[0]}\n{GATE}"
    pairs = [nasty_pair(store, seed) for seed in range(8)]
    pack(pairs, store, root, PackConfig(test=0.3), gate=gate, funnel=funnel)
    ggt_card(root)
    return root


@pytest.fixture(scope="module")
def hub(release: Path, manifest: dict[str, Any]) -> Iterator[Hub]:
    with Hub() as hub:
        hub.publish(REPO, release, tag=f"v{manifest['dataset_version']}")
        yield hub


def body(root: Path) -> str:
    """The README below its YAML."""
    return (root / "README.md").read_text(encoding="utf-8").split("\n---\n", 1)[1]


class Page(HTMLParser):
    """What a browser sees of a page: its tags with their attributes, its text, the cells of its tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.rows = "", [[]]  # type: tuple[str, list[list[str]]]
        self._cell = False
        self.feed(MARKDOWN.render(text))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._cell:
            self.rows[-1][-1] += data


# --- its YAML -------------------------------------------------------------------------------------------------------


def test_its_yaml_is_what_the_hub_and_datasets_read(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "out", count=6)
    data = DatasetCard.load(root / "README.md").data.to_dict()
    assert [config["config_name"] for config in data["configs"]] == ["all", "rain", "snow"]
    assert [config.get("default", False) for config in data["configs"]] == [True, False, False]
    assert data["configs"][0]["data_files"] == [
        {"split": "train", "path": "data/*/train-*.tar"},
        {"split": "test", "path": "data/*/test-*.tar"},
    ]
    assert data["configs"][1]["data_files"] == [{"split": "train", "path": "data/rain/train-*.tar"}]
    infos = {info["config_name"]: info["features"] for info in data["dataset_info"]}
    assert set(infos) == {"all", "rain", "snow"}
    for typed in infos.values():
        assert datasets.Features._from_yaml_list(typed) == plain_features(["gmsd", "structure"])


def test_the_hubs_own_reading_of_it(release: Path) -> None:
    read = metadata_load(release / "README.md")
    assert read is not None
    data = DatasetCardData(**read)
    assert DatasetCard.load(release / "README.md").data.to_dict() == data.to_dict()
    assert yaml.safe_load(data.to_yaml()) == read, "it goes through their writer and comes back"
    assert (data.license, read["license_name"], read["license_link"]) == ("other", "by-photograph", "LICENSE")
    assert (release / read["license_link"]).is_file()
    assert data.language == ["en"]
    assert data.task_categories == ["image-to-image"]
    assert data.size_categories == ["n<1K"]
    assert data.tags == ["image-restoration", "webdataset"]
    assert data.pretty_name == "GGT-100K"


def test_its_yaml_says_how_the_pairs_were_made_and_of_what(release: Path) -> None:
    read = metadata_load(release / "README.md") or {}
    assert read["annotations_creators"] == ["machine-generated"], "nobody has reviewed the sample"
    assert read["source_datasets"] == ["extended|other-lomiri-wallpapers-16-04", "extended|other-palapeli-data"]
    assert "extra_gated_prompt" not in read and "paperswithcode_id" not in read
    for number in ("2605.31039", "2505.05621"):
        assert f"(https://arxiv.org/abs/{number})" in body(release), "the Hub makes a tag of such a link"


def test_votes_of_reviewers_make_experts_of_its_annotators(tmp_path: Path) -> None:
    store = Store()
    pairs = [make_pair(store, seed) for seed in range(2)]
    voted = (*pairs[1].verdict.evidence, ReviewVotes(2, 0, "unsure"))
    pairs[1] = dataclasses.replace(pairs[1], verdict=dataclasses.replace(pairs[1].verdict, evidence=voted))
    pack(pairs, store, tmp_path / "r", PackConfig(test=0), gate=GATE)
    texts = card_texts(ggt100k.open_root(str(tmp_path / "r")), REPO)
    read = yaml.safe_load(texts["README.md"].decode().split("---\n")[1])
    assert read["annotations_creators"] == ["machine-generated", "expert-generated"]
    assert read["source_datasets"] == ["original"]


@given(
    st.builds(
        CardOptions,
        preview=st.sampled_from(["", "some-org/ggt-100k-preview", "a/b.c_d"]),
        gated_prompt=st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp", "Zs"]), max_size=40)
        | st.sampled_from(['I agree: "yes"\n---\nand no. # ~', "- a\n- b", "null", "1.0", " spaced "]),
        paperswithcode_id=st.sampled_from(["", "ggt-100k", "1"]),
    )
)
@settings(max_examples=25, deadline=None)
def test_the_options_of_a_card_are_read_back_from_it(release: Path, options: CardOptions) -> None:
    root = ggt100k.open_root(str(release))
    text = card_texts(root, REPO, options)["README.md"].decode()
    assert read_options(text) == options
    assert (f"https://huggingface.co/datasets/{options.preview})" in text) == bool(options.preview)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"preview": "x"},
            "--preview 'x': is not a repository name. Write it as ORG/NAME, for example ORG/ggt-100k-preview.",
        ),
        ({"gated_prompt": "a\x00"}, "--gated-prompt: holds control characters. Write plain text."),
        (
            {"paperswithcode_id": "GGT 100K"},
            "--paperswithcode-id 'GGT 100K': is not an identifier. Write lower-case letters, digits and hyphens, for "
            "example ggt-100k.",
        ),
    ],
)
def test_options_that_cannot_be_are_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as fault:
        CardConfig(**values)
    assert str(fault.value) == message


@pytest.mark.parametrize(
    ("pairs", "size"), [(999, "n<1K"), (1000, "1K<n<10K"), (103_707, "100K<n<1M"), (10**8, "n>10M")]
)
def test_its_size_is_the_manifests(pairs: int, size: str, manifest: dict[str, Any]) -> None:
    train = manifest["splits"]["train"] | {"pairs": pairs}
    text = short_readme(manifest | {"splits": {"train": train}})
    assert yaml.safe_load(text.split("---\n")[1])["size_categories"] == [size]


def test_the_readmes_of_pack_and_card_have_the_same_yaml(release: Path, manifest: dict[str, Any]) -> None:
    splits = {name: list(about["degradations"]) for name, about in manifest["splits"].items()}
    begin = front_matter(manifest["metrics"], splits)
    for text in (short_readme(manifest), (release / "README.md").read_text(encoding="utf-8")):
        assert text.startswith(begin)
    whole = (release / "README.md").read_text(encoding="utf-8").split("---\n")[1]
    assert whole.startswith(short_readme(manifest).split("---\n")[1]), "what only the index tells comes last"


def test_every_file_of_the_card_exists_and_every_shard_is_listed(release: Path) -> None:
    configs = yaml.safe_load((release / "README.md").read_text(encoding="utf-8").split("---\n")[1])["configs"]
    for config in configs:
        matched = [path for files in config["data_files"] for path in release.glob(files["path"])]
        assert matched
        if config["config_name"] == "all":
            assert sorted(matched) == sorted(release.glob("data/*/*.tar"))


# --- datasets reads the folder by it --------------------------------------------------------------------------------


def test_datasets_takes_its_types_from_it(release: Path, manifest: dict[str, Any], tmp_path: Path) -> None:
    classes = {name for about in manifest["splits"].values() for name in about["degradations"]}
    assert set(datasets.get_dataset_config_names(str(release))) == {"all", *classes}
    for config in ("all", *classes):
        builder = datasets.load_dataset_builder(str(release), config, cache_dir=str(tmp_path))
        assert builder.info.features == plain_features(manifest["metrics"]), config


def test_datasets_reads_every_config_streaming_and_not(hostile: Path, tmp_path: Path) -> None:
    columns = ["key", "degradation", "licence"]
    index = {split: ggt100k.index(hostile, split, columns=columns).to_pylist() for split in ("train", "test")}
    classes = sorted({row["degradation"] for rows in index.values() for row in rows})
    for config in ("all", *classes):
        wanted = {
            split: sorted((row["key"], row["licence"]) for row in rows if config in ("all", row["degradation"]))
            for split, rows in index.items()
        }
        wanted = {split: rows for split, rows in wanted.items() if rows}
        for streaming in (False, True):
            loaded = datasets.load_dataset(str(hostile), config, streaming=streaming, cache_dir=str(tmp_path))
            assert set(loaded) == set(wanted), config
            for split, rows in loaded.items():
                plain_rows = rows.cast_column("lq.png", datasets.Image(decode=False))
                plain_rows = plain_rows.cast_column("gt.png", datasets.Image(decode=False))
                found = [(row["__key__"].rpartition("/")[2], row["json"]["licence"]) for row in plain_rows]
                assert sorted(found) == wanted[split], (config, streaming)
                assert rows.features == plain_features(["gmsd", "structure"])
                first = next(iter(rows))
                assert first["lq.png"].size == first["gt.png"].size


# --- its snippets ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_each_snippet_runs_as_it_stands(release: Path, hub: Hub, tmp_path: Path) -> None:
    snippets = re.findall(r"```python\n(.*?)```", body(release), re.DOTALL)
    assert len(snippets) == 6
    for word in ("streaming=True", "PairDataset(", "ggt100k.index(", "webdataset.WebDataset(", "mlcroissant.Dataset("):
        assert sum(word in snippet for snippet in snippets) == 1, word
    code = f"""
import contextlib, io, json
said = []
for snippet in {snippets!r}:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(snippet, {{"__name__": "__main__"}})
    said.append(out.getvalue())
print(json.dumps(said))
"""
    env = hub.env(tmp_path / "home") | {"CROISSANT_CACHE": str(tmp_path / "croissant")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    table = ggt100k.index(release, "train", columns=["key", "licence"]).to_pylist()
    assert "CC" in said[0] and said[0].startswith("(")
    assert len(said[1].splitlines()) == 2
    assert re.match(r"[1-9]\d* [0-9a-f]{16} \(256, 256, 3\) \(256, 256, 3\)\n", said[2])
    assert said[3] == f"{len(table)} pairs\n"
    assert {line.split()[0] for line in said[4].splitlines()} <= {row["key"] for row in table} and said[4]
    assert said[5].splitlines() == [f"{row['key'].encode()} {row['licence'].encode()}" for row in table]


# --- text of the card -----------------------------------------------------------------------------------------------


def test_its_counts_are_the_manifests_and_the_index(release: Path, manifest: dict[str, Any]) -> None:
    rows = Page(body(release)).rows
    train, test = (manifest["splits"][split] for split in ("train", "test"))
    table = [row for split in ("train", "test") for row in ggt100k.index(release, split).to_pylist()]
    assert ["degradation", "train", "test"] in rows
    for name in train["degradations"].keys() | test["degradations"].keys():
        assert [name, *(str(split["degradations"].get(name, 0)) for split in (train, test))] in rows
    assert ["all", str(train["pairs"]), str(test["pairs"])] in rows
    for stage in manifest["funnel"]:
        why = ", ".join(f"{count} {reason}" for reason, count in stage["reasons"])
        assert [stage["stage"], str(stage["entered"]), str(stage["left"]), why] in rows
    for metric in manifest["metrics"]:
        values = np.array([row["scores"][metric] for row in table], np.float32)
        low, middle, high = np.percentile(values, [5, 50, 95])
        assert [metric, str(len(table)), f"{low:.3g}", f"{middle:.3g}", f"{high:.3g}"] in rows
    for licence in {row["licence"] for row in table}:
        assert [licence, str(sum(row["licence"] == licence for row in table))] in rows
    said = body(release)
    assert f"{len(table)} pairs ({train['pairs']} train, {test['pairs']} test), " in said
    assert f" in {len(manifest['shards'])} shards." in said
    assert f"\n# ggt-100k {manifest['dataset_version']}\n" in said
    assert manifest["gate"].strip() in said


def test_the_card_states_what_the_release_lacks(release: Path, hostile: Path) -> None:
    limits = body(release).split("## Known limits")[1].split("\n## ")[0]
    absent = set(re.search(r"It has no pairs of (.*)\.", limits)[1].replace("`", "").split(", "))  # type: ignore[index]
    there = {path.parent.name for path in release.glob("data/*/*.tar")}
    assert absent == set(ggt100k.DEGRADATIONS) - there
    assert "All ground truths are from one restorer, classical-" in limits
    assert "Not measured on every pair" not in limits
    assert "- Not measured on every pair: `gmsd` (not on 4).\n" in body(hostile)


def test_choices_of_this_project_are_not_attributed_to_the_paper(release: Path) -> None:
    said = body(release)
    assert "are the choice of its maintainers, not the paper's" in " ".join(said.split())
    assert "This release is official data of neither." in " ".join(said.split())
    assert "arXiv:2605.31039" in said and "arXiv:2505.05621" in said


def test_no_number_is_typed_by_hand() -> None:
    names = (
        r"kong2026ggt100k|yang2025gpt4o|GGT-100K|ggt-?100k|GPT-4o|arXiv:[\d.]+|arxiv\.org/abs/[\d.]+|year    = \{\d+\}"
    )
    ours = rf"{names}|C2PA|c2pa|5 % lie (below|above)|names\[[01]\]|take\(2\)|pairs\[0\]"
    for path in sorted(PROSE.glob("*.md")):
        text = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert re.findall(r"\d+", re.sub(ours, "", text)) == [], path.name


def test_its_credits_name_every_author_and_source(release: Path) -> None:
    table = [row for split in ("train", "test") for row in ggt100k.index(release, split).to_pylist()]
    said, licence = Page(body(release)), (release / "LICENSE").read_text(encoding="utf-8")
    for row in table:
        for text in (row["author"], row["source_name"], row["licence"]):
            assert text in said.text and text in licence
        assert any(tag == "a" and attrs["href"] == row["url"] for tag, attrs in said.tags)
        assert row["url"] in licence
    authors = {(row["licence"], row["author"]) for row in table}
    assert len(re.findall(r"^    .*: \d+ pairs?, http", licence, re.MULTILINE)) == len(authors)
    assert sum(int(count) for count in re.findall(r"^    .*: (\d+) pair", licence, re.MULTILINE)) == len(table)


@pytest.mark.slow
def test_many_sources_are_counted_and_listed_in_the_licence(tmp_path: Path) -> None:
    store = Store()
    pairs = [make_pair(store, seed, source_name=f"source {seed:02}", author=f"author {seed}") for seed in range(43)]
    pack(pairs, store, tmp_path / "out", PackConfig(test=0), gate=GATE)
    files = card(ggt100k.open_root(str(tmp_path / "out")), REPO)
    text = files["README.md"].decode()
    assert text.count("| source ") == 1 + 40
    assert "\n3 more sources, with 3 pairs, are in LICENSE.\n" in text
    assert files["LICENSE"].decode().count("from source ") == 43
    assert "figures/funnel.png" not in files and "### The funnel" not in text


@pytest.mark.slow
def test_the_card_has_the_change_log(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "out")
    files = card(ggt100k.open_root(str(root)), REPO)
    before = {name: files[name].decode() for name in ("README.md", "croissant.json")}
    assert "## Change log" not in before["README.md"] and "datePublished" not in before["croissant.json"]
    log = "# Change log\n\n## 1.0.0, 2026-11-22\n\n3 added.\n<script>alert(1)</script>\n\n## 0.9.0, 2026-01-01\n"
    (root / "CHANGELOG.md").write_text(log)
    ggt_card(root)
    assert "## Change log\n\n### Change log\n\n#### 1.0.0, 2026-11-22\n\n3 added.\n&lt;script>" in body(root)
    assert "script" not in {tag for tag, _ in Page(body(root)).tags}
    assert quoted("## 1.1.0, 2026-11-22\n\nOne.\n\n### Two\n") == "### 1.1.0, 2026-11-22\n\nOne.\n\n#### Two"
    assert json.loads((root / "croissant.json").read_text())["datePublished"] == "2026-11-22"


@pytest.mark.slow
def test_the_light_flavour(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "out", count=6, codec="jpeg")
    ggt_card(root)
    assert "This is the light flavour" in body(root) and 'pair["lq.jpg"].size' in body(root)
    builder = datasets.load_dataset_builder(str(root), cache_dir=str(tmp_path / "cache"))
    assert builder.info.features == plain_features(["gmsd", "structure"], "jpeg")
    (records,) = croissant_records(root, "train-gt")[:1]
    assert records["train-gt/image"].format == "JPEG"


# --- what comes from outside ----------------------------------------------------------------------------------------


def test_texts_from_outside_are_escaped_in_the_card(hostile: Path) -> None:
    page = Page(body(hostile))
    allowed = {"h1", "h2", "h3", "p", "em", "strong", "code", "pre", "a", "img", "ul", "li", "details", "summary"}
    assert {tag for tag, _ in page.tags} <= allowed | {"table", "thead", "tbody", "tr", "th", "td"}
    assert "strong" not in {tag for tag, _ in page.tags}
    assert [attrs["src"] for tag, attrs in page.tags if tag == "img"] == [
        *("figures/funnel.png", "figures/composition.png", "figures/scores.png", "figures/sample.jpg")
    ]
    assert [tag for tag, _ in page.tags].count("details") == 1
    for tag, attrs in page.tags:
        assert attrs.keys() <= {"href", "src", "alt", "class", "style"}, (tag, attrs)
        assert attrs.get("style") in (None, "text-align:right")
        if tag == "a":
            assert re.match(
                r"LICENSE$|https://(spdx\.org/licenses|arxiv\.org/abs|example\.org)/", attrs["href"] or ""
            ), attrs
    rows = page.rows
    for seed in range(8):
        name = plain(f"{seed} {NASTY[seed % 4]}")
        (row,) = [row for row in rows if row and row[0] == name]
        assert (len(row), row[4]) == (5, plain(NASTY[seed % 4]))
    for text in NASTY:
        assert [plain(text), plain(text), "2", "0"] in rows
        assert any(row[1:] == ["9", "8", f"1 {plain(text)}"] for row in rows if row)


def test_texts_from_outside_are_escaped_in_other_files(hostile: Path) -> None:
    head = yaml.safe_load((hostile / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert (head["license"], head["language"]) == ("other", ["en"])
    about = json.loads((hostile / "croissant.json").read_text(encoding="utf-8"))
    assert set(about["license"]) == {plain(text) for text in NASTY} | {"CC0-1.0"}
    assert (hostile / "LICENSE").read_text(encoding="utf-8").replace("\n", "").isprintable()
    assert [len(list(hostile.glob(name))) for name in FIGURES] == [1] * 4


TEXTS = st.text(st.one_of(st.sampled_from(string.punctuation + " \n\taAwW1"), st.characters()), max_size=60)


@given(TEXTS)
@example("www.example.com")
@example("a\\|b")
@settings(deadline=None, max_examples=300)
def test_a_text_is_unchanged_in_a_table_cell(text: str) -> None:
    assert plain("a\u200cb\u202e") == "a\u200cb\ufffd"
    page = Page(f"| a | b |\n|---|---|\n| x {markdown(text)} y | {markdown(text)} |\n")
    assert page.rows[2][0].split(" ", 1)[1].rpartition(" ")[0] == plain(text) if text.strip() else True
    assert len(page.rows) == 3 and len(page.rows[2]) == 2
    assert {tag for tag, _ in page.tags} == {"table", "thead", "tbody", "tr", "th", "td"}
    assert len(plain(text)) <= MAX_LENGTH


@given(st.text(st.one_of(st.sampled_from("`~<>\n -#"), st.characters()), max_size=80))
@example("```\nx\n````\n")
@settings(deadline=None, max_examples=200)
def test_no_text_closes_its_code_block(text: str) -> None:
    tokens = MARKDOWN.parse(f"{fenced(text)}\n\nafter\n")
    assert [token.type for token in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]


# --- its figures ----------------------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    """Relative, of #rrggbb: WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize("ground", ["#ffffff", "#0b0f19"])
def test_colours_have_enough_contrast_on_light_and_dark(ground: str) -> None:
    for colour, least in [(INK, 4.2), (FAINT, 3.0), *((fill, 3.0) for fill in FILLS)]:
        bright, dark = sorted((luminance(colour), luminance(ground)), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= least, colour


def pixels(root: Path, name: str) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(root / name).convert("RGBA"))


@pytest.mark.slow
def test_figures_are_transparent_and_use_the_palette(release: Path) -> None:
    colours = [tuple(int(c[at : at + 2], 16) for at in (1, 3, 5)) for c in (INK, FAINT, *FILLS)]
    for name in FIGURES:
        if name.endswith(".png"):
            found = pixels(release, name)
            assert (found[..., 3] == 0).mean() > 0.4, name
            opaque = np.unique(found[found[..., 3] == 255][:, :3], axis=0).tolist()
            near = [min(max(abs(a - b) for a, b in zip(one, c, strict=True)) for c in colours) for one in opaque]
            assert np.mean(np.array(near) <= 40) > 0.5, name


def test_a_bar_is_as_long_as_its_number(release: Path, manifest: dict[str, Any]) -> None:
    found = pixels(release, "figures/composition.png")
    blue = np.array([int(FILLS[0][at : at + 2], 16) for at in (1, 3, 5)])
    long = ((found[..., :3] == blue).all(axis=2) & (found[..., 3] == 255)).sum(axis=1)
    changes = np.flatnonzero(np.diff(long, prepend=0))
    runs = [long[a] for a, b in zip(changes, [*changes[1:], len(long)], strict=True) if b - a > 30 and long[a]]
    splits = [about["degradations"] for about in manifest["splits"].values()]
    counts = [sum(split.get(name, 0) for split in splits) for name in ggt100k.DEGRADATIONS]
    counts = [count for count in counts if count]
    assert len(runs) == len(counts)
    assert np.allclose(np.array(runs) / max(runs), np.array(counts) / max(counts), atol=0.01)


def test_the_sample_is_the_first_of_each_degradation_in_turn(release: Path) -> None:
    rows = ggt100k.index(release, "train", columns=["key", "degradation"]).to_pylist()
    keys = re.search(r"alt text|!\[(\d+) pairs", body(release))
    assert keys and keys[1] == str(min(8, len(rows)))
    sheet = Image.open(release / "figures/sample.jpg")
    assert sheet.format == "JPEG" and sheet.size[0] == WIDTH
    classes = [name for name in ggt100k.DEGRADATIONS if any(row["degradation"] == name for row in rows)]
    first = min(row["key"] for row in rows if row["degradation"] == classes[0])
    pairs = ggt100k.PairDataset(release, where={"key": first})
    top = MARGIN + TITLE + 36
    is_white = (np.asarray(sheet.crop((MARGIN, top, MARGIN + 40, sheet.height))) > 240).all(axis=(1, 2))
    height = int(np.flatnonzero(is_white)[0])  # of the first strip, down to its caption
    lq = Image.fromarray(pairs[0]["lq"])
    small = np.asarray(lq.resize((round(height * lq.width / lq.height), height), Image.Resampling.LANCZOS)).astype(int)
    there = np.asarray(sheet.crop((MARGIN, top, MARGIN + small.shape[1], top + height))).astype(int)
    assert np.abs(there - small).mean() < 8


# --- its Croissant --------------------------------------------------------------------------------------------------


def croissant_records(root: Path, record_set: str) -> list[dict[str, Any]]:
    import mlcroissant

    files = [path for path in root.rglob("*") if path.suffix in (".tar", ".parquet")]
    mapping = {path.relative_to(root).as_posix(): path for path in files}
    read = mlcroissant.Dataset(root / "croissant.json", mapping=mapping)
    assert not read.metadata.ctx.issues.errors
    assert [text for text in read.metadata.ctx.issues.warnings if "datePublished" not in text] == []
    return list(read.records(record_set))


def test_mlcroissant_reads_what_the_index_says(release: Path) -> None:
    found = croissant_records(release, "test")
    wanted = ggt100k.index(release, "test").to_pylist()
    assert len(found) == len(wanted) > 1
    for record, row in zip(found, wanted, strict=True):
        scores = {name.rpartition("/")[2]: value for name, value in record.pop("test/scores").items()}
        assert scores == row["scores"]
        facts = {name.removeprefix("test/"): value for name, value in record.items()}
        for name, value in facts.items():
            texts = [v.decode() for v in value] if isinstance(value, list) else value
            assert (texts.decode() if isinstance(texts, bytes) else texts) == row[name], name
        assert set(facts) | {"scores"} == set(ggt100k.fact_columns(list(scores)))


@pytest.mark.slow
def test_mlcroissant_reads_the_images_from_the_hub(release: Path, hub: Hub) -> None:
    import mlcroissant

    text = (release / "croissant.json").read_text(encoding="utf-8").replace("https://huggingface.co", hub.url)
    read = mlcroissant.Dataset(json.loads(text))
    pairs = ggt100k.PairDataset(release, "test")
    for side in ("lq", "gt"):
        found = {r[f"test-{side}/key"].decode(): r[f"test-{side}/image"] for r in read.records(f"test-{side}")}
        assert len(found) == len(pairs)
        for pair in pairs:
            assert np.array_equal(np.asarray(found[pair["key"]]), pair[side])


def test_mlcroissant_refuses_bytes_that_differ_from_the_manifest(release: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(release, tmp_path / "out"))
    path = root / "index/test.parquet"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(Exception, match="during the operation Download") as refused:
        croissant_records(root, "test")
    assert "is not identical with the reference in the Croissant JSON-LD" in str(refused.value.__cause__)


def test_croissant_says_where_the_pairs_come_from_and_how_they_may_be_used(release: Path) -> None:
    """Version 1.1, which mlcroissant reads without an issue; PROV-O and ODRL as an RDF parser understands them."""
    import mlcroissant
    import rdflib

    read = mlcroissant.Dataset(release / "croissant.json").metadata
    assert read.ctx.is_v1_1() and not read.ctx.issues.errors
    assert not [warning for warning in read.ctx.issues.warnings if "datePublished" not in warning]
    assert len(read.data_limitations) == 2 and len(read.data_use_cases) == 2
    assert read.annotations_per_item == "One ground truth for each photograph."
    assert read.data_annotation_protocol[1] == "Reviewers voted on 0 of the 16 pairs that were kept."
    assert read.personal_sensitive_information == [
        "Photographs may show people; whether they show faces was not checked."
    ]
    graph = rdflib.Graph().parse(release / "croissant.json", format="json-ld")
    prov, odrl = rdflib.Namespace("http://www.w3.org/ns/prov#"), rdflib.Namespace("http://www.w3.org/ns/odrl/2/")
    sources = {str(graph.value(entity, prov.label)) for entity in graph.objects(None, prov.wasDerivedFrom)}
    assert {"lomiri-wallpapers-16.04", "palapeli-data"} <= sources
    (restorer,) = graph.objects(None, prov.wasAssociatedWith)
    assert str(graph.value(restorer, prov.label)) == "classical-1"
    gt_fields = {str(s).rpartition("#")[2].rpartition("croissant.json")[2] for s in graph.subjects(prov.wasDerivedFrom)}
    assert any(name.endswith("train-gt/image") for name in gt_fields)
    offers = {str(graph.value(offer, rdflib.SDO.name)): offer for offer in graph.subjects(rdflib.RDF.type, odrl.Offer)}
    duties = {
        name: sorted(str(graph.value(duty, odrl.action)) for duty in graph.objects(permission, odrl.duty))
        for name, offer in offers.items()
        for permission in graph.objects(offer, odrl.permission)
    }
    assert duties["Pairs under CC-BY-4.0"] == [str(odrl.attribute)] and duties["Pairs under CC0-1.0"] == []


@pytest.mark.parametrize(
    ("licence", "actions", "duties", "forbidden"),
    [
        ("CC0-1.0", 4, [], ""),
        ("CC-BY-SA-4.0", 4, ["odrl:attribute", "cc:ShareAlike"], ""),
        ("CC-BY-NC-SA-4.0", 4, ["odrl:attribute", "cc:ShareAlike"], "cc:CommercialUse"),
        ("CC-BY-NC-ND-4.0", 3, ["odrl:attribute"], "cc:CommercialUse"),
        ("LicenseRef-own", 0, [], ""),
    ],
)
def test_terms_of_use_are_stated_of_licences_that_are_understood(
    tmp_path: Path, licence: str, actions: int, duties: list[str], forbidden: str
) -> None:
    store = Store()
    pack([make_pair(store, 1, licence=licence)], store, tmp_path / "r", PackConfig(test=0), gate=GATE)
    about = json.loads(card_texts(ggt100k.open_root(str(tmp_path / "r")), REPO)["croissant.json"])
    (offer,) = about["usageInfo"]
    permission = offer.get("odrl:permission", {})
    assert len(permission.get("odrl:action", [])) == actions
    assert [duty["odrl:action"]["@id"] for duty in permission.get("odrl:duty", [])] == duties
    assert offer.get("odrl:prohibition", {}).get("odrl:action", {}).get("@id", "") == forbidden


def test_croissant_names_every_file_with_its_checksum(release: Path, manifest: dict[str, Any]) -> None:
    about = json.loads((release / "croissant.json").read_text(encoding="utf-8"))
    files = {one["@id"]: one for one in about["distribution"] if one["@type"] == "cr:FileObject"}
    assert set(files) == set(manifest["shards"]) | {f"index/{split}.parquet" for split in manifest["splits"]}
    for name, one in files.items():
        assert one["sha256"] == hashlib.sha256((release / name).read_bytes()).hexdigest()
        assert one["contentSize"] == f"{(release / name).stat().st_size} B"
        assert one["contentUrl"] == f"https://huggingface.co/datasets/{REPO}/resolve/v1.0.0/{name}"
    assert about["version"] == manifest["dataset_version"]


# --- the verb -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_verb_writes_what_has_changed(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "out")
    names = "figures/composition.png, figures/sample.jpg, figures/scores.png, LICENSE, croissant.json, README.md"
    assert ggt_card(root) == f"card: 6 changed, 0 unchanged\n{root}: {names}\n"
    first = {name: (root / name).read_bytes() for name in names.split(", ")}
    (root / "LICENSE").unlink()
    (root / "README.md").write_text("edited by hand")
    assert ggt_card(root) == f"card: 2 changed, 4 unchanged\n{root}: {names}\n"
    assert {name: (root / name).read_bytes() for name in first} == first
    assert ggt_card(root, "--repo", "org/ggt-100k") == f"card: 2 changed, 4 unchanged\n{root}: {names}\n"
    assert 'load_dataset("org/ggt-100k", ' in body(root) and REPO not in body(root)


def test_validate_finds_nothing_in_a_folder_with_its_card(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(release)]) == 0, capsys.readouterr().out


@pytest.mark.slow
def test_equal_releases_give_equal_bytes_whatever_the_users_settings_are(hostile: Path, tmp_path: Path) -> None:
    """The settings of matplotlib, the seed of hashes, the time zone and the place of the folder are others."""
    root = tmp_path / "elsewhere"
    for name in ("data", "index"):
        shutil.copytree(hostile / name, root / name)
    (tmp_path / "matplotlibrc").write_text(
        "font.family: serif\naxes.facecolor: red\nlegend.fontsize: 30\nhatch.color: red\n"
    )
    odd = {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc"), "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    command = [sys.executable, "-m", "ggt_tools.cli", "card", str(root)]
    done = subprocess.run(command, env=os.environ | odd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("README.md", "LICENSE", "croissant.json", *FIGURES):
        assert (root / name).read_bytes() == (hostile / name).read_bytes(), name


@pytest.mark.parametrize("repo", ["ggt-100k", "a/b/c", "a b/c", "org/", 'org/x"); import os', "-org/x\n"])
def test_an_invalid_repository_name_is_refused(release: Path, repo: str) -> None:
    with pytest.raises(
        ConfigError, match=r": is not a repository name\. Write it as ORG/NAME, for example ORG/ggt-100k\.$"
    ):
        card(ggt100k.open_root(str(release)), repo)


def test_an_index_with_other_counts_than_the_manifest_is_refused(release: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(release, tmp_path / "out"))
    path = root / ggt100k.MANIFEST
    about = json.loads(path.read_text())
    about["splits"]["test"]["degradations"]["haze"] += 1
    path.write_text(json.dumps(about))
    with pytest.raises(
        ShardError,
        match=r"out: index/test\.parquet: holds \{.*\} pairs, and the manifest says .*\. Pack the release again\.",
    ):
        card(ggt100k.open_root(str(root)), REPO)
    before = (root / "README.md").read_bytes()
    assert main(["card", str(root)]) == 2
    assert (root / "README.md").read_bytes() == before


def test_an_invalid_funnel_is_refused(release: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(release, tmp_path / "out"))
    path = root / ggt100k.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"funnel": [{"stage": "ingest"}]}))
    with pytest.raises(ShardError, match=r"its funnel cannot be read \(KeyError\('entered'\)\)\. Pack "):
        card(ggt100k.open_root(str(root)), REPO)


def test_a_folder_without_a_release_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", str(tmp_path)]) == 2
    assert "the folder has no index/manifest.json" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert main(["card", "hf://datasets/org/ggt-100k"]) == 2
    assert "a card is written into a folder. Download the release first." in capsys.readouterr().err


@pytest.mark.slow
def test_the_stage_names_the_files_that_it_changed(release: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(release, tmp_path / "out"))
    (root / "LICENSE").write_text("another")
    summary = run(root, CardConfig())
    assert summary.paths == (str(root / "LICENSE"),) and summary.counts["changed"] == 1
    assert (root / "LICENSE").read_bytes() == (release / "LICENSE").read_bytes()
    with pytest.raises(ConfigError):
        CardConfig(repo="ggt-100k")
