"""site: a static page about a release, for any web server or to open from a folder. It loads nothing from elsewhere.

    files = build_site(Release.read(open_root("ggt-100k"), "ORG/ggt-100k"), config)    # index.html, images/

    markup.py   the card's sections as HTML
    site.html   the page, with its styles
    site.js     sliders and the large pair
    run.py      the command

The page has a large pair under a slider, pairs of each class, composition, funnel, scores, limits, how to load, how to
cite, and what changed between versions. Of each class the pairs with the lowest keys are shown: a key is a hash of the
pixels, so nobody chose them by their looks. The user may choose those of the large slider. Equal releases give equal
bytes.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow.compute as pc

from ggt_format.pairs import PairDataset
from ggt_format.schema import KEY
from ggt_tools.errors import ConfigError
from ggt_tools.imaging.previews import SUFFIXES, make_preview, preview_size
from ggt_tools.metrics.meanings import meaning_of
from ggt_tools.pages import environment
from ggt_tools.stages.card import HUB, REPOSITORY, CardOptions
from ggt_tools.stages.card.figures import gate_bounds
from ggt_tools.stages.card.page import render_section
from ggt_tools.stages.card.release import Release
from ggt_tools.stages.card.text import plain
from ggt_tools.stages.report.figures import axis_range, histogram
from ggt_tools.stages.site.markup import to_html

LARGE, SMALL = 1024, 448  # pixels of the longer side of the images of the large slider and of the others
QUALITY = 80
MAX_PER_CLASS, MAX_HERO = 60, 12
MAX_SOURCES = 60  # rows of the table of sources
COLUMNS = ["author", "url", "licence", "source", "source_name", "restorer"]
IMAGE_NAME = re.compile(r"[0-9a-f]{16}-(?:lq|gt)-\d+\.(?:webp|jpg)")


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteConfig:
    """What the page shows.

    Attributes:
        repo: Repository of the release on the Hub, which the examples load, as ORG/ggt-100k.
        preview: Repository of the preview, which the page links; "" for none.
        hero: Keys of the pairs of the large slider; () for the first ones of the card's sample.
        per_class: Number of pairs that are shown of each class.
        codec: Format of the images, "webp" or "jpeg".
    """

    repo: str
    preview: str = ""
    hero: tuple[str, ...] = ()
    per_class: int = 8
    codec: str = "webp"

    def __post_init__(self) -> None:
        for option, repo in (("--repo", self.repo), ("--preview", self.preview)):
            if (repo or option == "--repo") and not REPOSITORY.fullmatch(repo):
                raise ConfigError(
                    f"{option} {repo!r}: is not a repository name. Write it as ORG/NAME, for example ORG/ggt-100k."
                )
        if not 1 <= self.per_class <= MAX_PER_CLASS:
            raise ConfigError(
                f"--per-class {self.per_class}: is not 1 to {MAX_PER_CLASS}. Give such a number of pairs."
            )
        if len(self.hero) > MAX_HERO:
            raise ConfigError(f"--hero: {len(self.hero)} pairs are too many. Name at most {MAX_HERO}.")
        if wrong := [key for key in self.hero if not KEY.fullmatch(key)]:
            raise ConfigError(f"--hero {wrong[0]}: is not a key. Write 16 hexadecimal digits.")
        if self.codec not in SUFFIXES:
            raise ConfigError(
                f"--codec {self.codec}: is not a format of the images. Give one of {', '.join(SUFFIXES)}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPair:
    """A pair on the page. Its texts come from outside.

    Attributes:
        key: Its key.
        degradation: Its class.
        images: By side, lq and gt: the name of the file, its width and its height.
        texts: What is said below it: label and text.
        url: Where the photograph was found; "" where that is no web address.
    """

    key: str
    degradation: str
    images: Mapping[str, tuple[str, int, int]]
    texts: Sequence[tuple[str, str]]
    url: str


def build_site(
    release: Release, config: SiteConfig, *, progress: Callable[[int], object] = lambda count: None
) -> dict[str, bytes]:
    """Return the files of the site by their names.

    Args:
        release: The release.
        config: What is shown.
        progress: Called with the number of pairs that were read since the last call.

    Raises:
        ConfigError: The release must stay on this machine, a key is not in it, or jinja2 is not installed.
        ShardError: The release is damaged.
    """
    if why := release.root.manifest.get("local_only"):
        raise ConfigError(f"{release.root.url}: must stay on this machine: {why}. Pack a release without these pairs.")
    split_of_key = dict(zip(release.table["key"].to_pylist(), release.table["split"].to_pylist(), strict=True))
    if missing := [key for key in config.hero if key not in split_of_key]:
        raise ConfigError(f"--hero {missing[0]}: the release has no pair with this key. Name a key of its index.")
    hero_keys = list(dict.fromkeys(config.hero)) or release.sample[:4]
    gallery_keys = {name: _first_keys(release, name, config.per_class) for name in release.degradations}
    sides = dict.fromkeys((key for keys in gallery_keys.values() for key in keys), (SMALL,))
    sides |= {key: (LARGE, *sides.get(key, ())) for key in hero_keys}
    files: dict[str, bytes] = {}
    shown: dict[tuple[str, int], ShownPair] = {}
    for split in release.splits:
        wanted = [key for key in sides if split_of_key[key] == split]
        if wanted:
            pairs = PairDataset(
                release.root.url,
                split,
                where={"key": wanted},
                columns=COLUMNS,
                storage_options=release.root.storage_options,
            )
            for number in range(len(pairs)):
                pair = pairs[number]
                for side in sides[pair["key"]]:
                    shown[pair["key"], side] = _show(pair, side, config.codec, files)
                progress(1)
    script = (Path(__file__).parent / "site.js").read_text(encoding="utf-8")
    page = (
        environment(Path(__file__).parent)
        .get_template("site.html")
        .render(
            **_facts(release, config),
            hero=[shown[key, LARGE] for key in hero_keys],
            gallery=[(name, [shown[key, SMALL] for key in keys]) for name, keys in gallery_keys.items()],
            script=script,
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )
    return {"index.html": page.encode(), ".nojekyll": b"", **dict(sorted(files.items()))}


def count_pairs(release: Release, config: SiteConfig) -> int:
    """Return the number of pairs that build_site() reads, at most."""
    return len(config.hero or release.sample[:4]) + config.per_class * len(release.degradations)


def _first_keys(release: Release, degradation: str, count: int) -> list[str]:
    """Return the lowest keys of a class: of train as long as it has enough, then of the others."""
    table = release.table.filter(pc.equal(release.table["degradation"], degradation))
    order = {split: number for number, split in enumerate(release.splits)}
    rows = zip(table["split"].to_pylist(), table["key"].to_pylist(), strict=True)
    return [key for _, key in sorted((order[split], key) for split, key in rows)[:count]]


def _show(pair: Mapping[str, Any], side: int, codec: str, files: dict[str, bytes]) -> ShownPair:
    """Add the small images of a pair to the files, and return what the page shows of it."""
    images = {}
    for name in ("lq", "gt"):
        file = f"images/{pair['key']}-{name}-{side}.{SUFFIXES[codec]}"
        files[file] = make_preview(pair[name], long_side=side, codec=codec, quality=QUALITY)
        height, width = pair[name].shape[:2]
        images[name] = (file, *preview_size(width, height, side))
    source = plain(pair["source_name"]) or "a source without a name"
    texts = [
        ("by", plain(pair["author"]) or "author not named"),
        ("licence", plain(pair["licence"]) or "none named"),
        ("source", f"{source} ({pair['source']})"),
        ("restored by", plain(pair["restorer"])),
    ]
    return ShownPair(
        key=pair["key"],
        degradation=str(pair["degradation"]),
        images=images,
        texts=texts,
        url=_web_address(str(pair["url"])),
    )


def _web_address(url: str) -> str:
    """Return a URL where it is a web address, else ""."""
    try:
        parts = urlsplit(url)
        return url if parts.scheme in ("http", "https") and parts.hostname and url.isprintable() else ""
    except ValueError:
        return ""


def _facts(release: Release, config: SiteConfig) -> dict[str, Any]:
    """Return what the page says besides its pictures."""
    splits = release.splits
    class_counts = [(name, [splits[split].get(name, 0) for split in splits]) for name in release.degradations]
    options = CardOptions(preview=config.preview)
    sections = {name: to_html(render_section(name, release, options)) for name in ("what", "limits", "load", "cite")}
    return {
        "version": release.version,
        "repo": release.repo,
        "hub": HUB,
        "preview": config.preview,
        "pairs": release.pairs,
        "splits": list(splits),
        "classes": class_counts,
        "most": max(sum(counts) for _, counts in class_counts),
        "kinds": [(kind, sum(numbers)) for kind, numbers in release.kinds.items()],
        "licences": [(plain(name) or "none named", count) for name, count in release.licences.items()],
        "sources": [
            (plain(source.name) or "not named", source.kind, plain(source.licence), source.pairs)
            for source in release.sources[:MAX_SOURCES]
        ],
        "more_sources": len(release.sources[MAX_SOURCES:]),
        "funnel": [
            (plain(stage.stage), stage.entered, stage.left, [(plain(reason), count) for reason, count in stage.reasons])
            for stage in release.funnel
        ],
        "most_entered": max((max(stage.entered, stage.left) for stage in release.funnel), default=1) or 1,
        "distributions": list(_distributions(release)),
        "sections": sections,
        "changes": to_html(_plain_markdown(release.changes), level=3) if release.changes.strip() else "",
    }


def _distributions(release: Release) -> Iterable[dict[str, Any]]:
    """Yield a histogram of each metric over all pairs, with the gate's bounds for all classes."""
    bounds = gate_bounds(release)
    for metric in release.metrics:
        values = release.values(metric).astype(np.float64)
        measured_count = int(np.isfinite(values).sum())
        if not measured_count:
            continue
        limits = [limit for limit in bounds.get(metric, ()) if math.isfinite(limit)]
        low, high = axis_range(values, limits)
        label, meaning = meaning_of(metric)
        yield {
            "metric": metric,
            "label": label,
            "meaning": meaning,
            "measured": measured_count,
            "low": f"{low:.3g}",
            "high": f"{high:.3g}",
            "limits": [f"{limit:g}" for limit in limits],
            "plot": histogram([values], low, high, limits),
        }


def _plain_markdown(text: str) -> str:
    """Return a change log without the character that would begin HTML or a reference; everything else is its own."""
    return text.replace("&", "&#38;").replace("<", "&#60;")
