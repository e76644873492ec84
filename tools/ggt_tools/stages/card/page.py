"""The README and the LICENSE of a release. The prose is in dataset_card/card/, one file for each section."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pyarrow.compute as pc

from ggt_format.schema import CODECS, DEGRADATIONS, METRIC
from ggt_tools.errors import ConfigError
from ggt_tools.pages import environment
from ggt_tools.stages.card import HUB, CardOptions, prior_only_degradations, whole_front_matter
from ggt_tools.stages.card.release import Release, Source
from ggt_tools.stages.card.text import Trusted, fenced, markdown, plain, quoted

KNOWN_FLAGS = ("c2pa", "faces", "watermark", "nsfw")  # those that the text names, whether they were checked or not
MAX_SOURCES = 40  # rows of the table of sources; LICENSE has all
MAX_URL = 2000  # characters of a link
MAX_AUTHORS = 8  # named in a row
SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*", re.ASCII)
WINDOW = 256  # pixels of the crop in the snippet, where the pairs are as large


def page(release: Release, options: CardOptions) -> str:
    """Return the README.

    Raises:
        ConfigError: jinja2 is not installed.
    """
    templates = environment(prose_folder(), autoescape=False, finalize=_as_markdown, keep_trailing_newline=True)
    text = templates.get_template("card.md").render(_facts(release, options))
    return whole_front_matter(release.root.manifest, _metadata(release, options)) + re.sub(r"\n{3,}", "\n\n", text)


def _metadata(release: Release, options: CardOptions) -> dict[str, Any]:
    """Return the fields of the YAML that say how the pairs were made, in the vocabulary of the Hub.

    The ground truths are annotations that a machine made; where reviewers voted on them, experts made them too.
    """
    creators = ["machine-generated", *(["expert-generated"] if release.reviewed else [])]
    names = {source.name for source in release.sources if source.kind == "dataset"}
    slugs = sorted({re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") for name in names} - {""})
    originals = ["original"] if release.kinds.keys() - {"dataset"} else []
    extended = [f"extended|other-{slug}" for slug in slugs[:MAX_SOURCES]]
    return {
        "annotations_creators": creators,
        "source_datasets": [*originals, *extended] or ["extended"],
        **({"paperswithcode_id": options.paperswithcode_id} if options.paperswithcode_id else {}),
        **({"extra_gated_prompt": options.gated_prompt} if options.gated_prompt else {}),
    }


def render_section(name: str, release: Release, options: CardOptions) -> str:
    """Return a section of the README in Markdown, by the name of its file in dataset_card/card/ without a suffix."""
    templates = environment(prose_folder(), autoescape=False, finalize=_as_markdown, keep_trailing_newline=True)
    return re.sub(r"\n{3,}", "\n\n", templates.get_template(f"{name}.md").render(_facts(release, options)))


def licences(release: Release) -> str:
    """Return the LICENSE: the licence and author of the photographs, a line for each author of each source."""
    lines = [
        f"ggt-100k {release.version}: each pair is under the licence of its photograph.",
        "Licence, author, source and address of each stand in index/*.parquet and in the pair's JSON, by its key.",
    ]
    lines += _credit_lines(release)
    if release.priors is not None:
        lines += ["", "", "Of the visual priors, which are no pairs and lie in data/*/prior-*.tar:"]
        lines += _credit_lines(release.priors, "prior")
    if release.preferences is not None:
        lines += ["", "", "Of the kept and rejected candidates in data/*/preference-*.tar, by photograph:"]
        lines += _credit_lines(release.preferences, "photograph")
    return "\n".join(lines) + "\n"


def _credit_lines(release: Release, noun: str = "pair") -> list[str]:
    """Return the lines of a part of the release, by licence, source and author."""
    lines = []
    for licence, pair_count in release.licences.items():
        lines += ["", f"{plain(licence) or 'no licence named'}: {_counted(pair_count, noun)}"]
        if _address(licence):
            lines.append(f"  {_address(licence)}")
        for source in release.sources:
            if source.licence != licence:
                continue
            lines.append(f"  from {plain(source.name) or 'a source without a name'} ({plain(source.kind)})")
            for author, count in source.authors.items():
                urls = source.urls[author]
                address = (
                    f", {plain(urls[0], MAX_URL)}" if len(urls) == 1 else f", {len(urls):,} addresses" if urls else ""
                )
                lines.append(f"    {plain(author, 1000) or 'author not named'}: {_counted(count, noun)}{address}")
    return lines


def prose_folder() -> Path:
    """Return the folder of the sections: beside this file in a wheel, dataset_card/card/ in a checkout."""
    for folder in (Path(__file__).parent / "prose", Path(__file__).parents[4] / "dataset_card/card"):
        if (folder / "card.md").is_file():
            return folder
    raise ConfigError(
        f"{Path(__file__).parent / 'prose'}: the text of the card is missing, which ships with the package. "
        "Install it again: pip install ggt100k"
    )


def _as_markdown(value: Any) -> Any:
    """Return what the template prints for a value. A text is taken to come from outside, unless it is Trusted."""
    if isinstance(value, str):
        return value if isinstance(value, Trusted) else Trusted(markdown(value))
    return f"{value:,}" if isinstance(value, int) else value


def _facts(release: Release, options: CardOptions) -> dict[str, Any]:
    splits, classes = release.splits, release.degradations
    return {
        "version": Trusted(release.version),
        "repo": Trusted(release.repo),
        "preview": Trusted(options.preview),
        "hub": Trusted(HUB),
        "codec": release.codec,
        "members": Trusted(", ".join(f"`{{key}}.{end}`" for end in _members(release))),
        "splits": {split: sum(counts.values()) for split, counts in splits.items()},
        "pairs": release.pairs,
        "priors": release.priors.pairs if release.priors is not None else 0,
        "preferences": release.root.manifest.get("preferences", {}).get("photographs", 0),
        "candidates": release.root.manifest.get("preferences", {}).get("candidates", 0),
        "prior_only": Trusted(", ".join(f"`{name}`" for name in prior_only_degradations(release.root.manifest))),
        "shards": len(release.shards),
        "size": Trusted(_size(release.bytes)),
        "classes": [(_name(name), [splits[split].get(name, 0) for split in splits]) for name in classes],
        "absent": Trusted(", ".join(f"`{name}`" for name in DEGRADATIONS if name not in classes)),
        "sides": [release.span(side) for side in ("width", "height")],
        "made": [day[:10] for day in release.span("created")],
        "kinds": [(kind, sum(numbers)) for kind, numbers in release.kinds.items()],
        "sources": [_source(source) for source in release.sources[:MAX_SOURCES]],
        "more_sources": (
            len(release.sources[MAX_SOURCES:]),
            sum(source.pairs for source in release.sources[MAX_SOURCES:]),
        ),
        "restorers": release.restorers,
        "spreads": [
            (
                _name(spread.metric),
                spread.measured,
                *(Trusted(f"{x:.3g}" if math.isfinite(x) else "") for x in (spread.low, spread.median, spread.high)),
            )
            for spread in release.spreads
        ],
        "unmeasured": [
            (_name(spread.metric), release.pairs - spread.measured)
            for spread in release.spreads
            if spread.measured < release.pairs
        ],
        "funnel": [
            (_name(stage.stage), stage.entered, stage.left, [(count, _name(reason)) for reason, count in stage.reasons])
            for stage in release.funnel
        ],
        "gate": Trusted(fenced(release.gate, "toml")),
        "licences": [(_licence(licence), pairs) for licence, pairs in release.licences.items()],
        "flags": {side: release.flags(side) for side in ("lq", "gt")},
        "other_flags": [(_name(n), count) for n, count in release.flags("lq").items() if n not in KNOWN_FLAGS],
        "without_author": sum(source.authors.get("", 0) for source in release.sources),
        "sample": [Trusted(f"`{key}`") for key in release.sample],
        "changes": Trusted(quoted(release.changes)),
        "example": _example(release),
    }


def _name(name: str) -> Trusted:
    """Return a name as code where it has the form of the format's names; any other is a text from outside."""
    return Trusted(f"`{name}`" if METRIC.fullmatch(name) else markdown(name))


def _members(release: Release) -> tuple[str, ...]:
    end = CODECS[release.codec]
    return "json", f"lq.{end}", f"gt.{end}"


def _example(release: Release) -> dict[str, Trusted]:
    """Return what the snippets load: a split and class with pairs, a score that half of them reach, a crop."""
    split = release.main_split
    name = max(release.splits[split], key=lambda degradation: release.splits[split][degradation])
    in_split = pc.equal(release.table["split"], split)
    is_loaded = pc.and_(in_split, pc.equal(release.table["degradation"], name)).to_numpy()
    values = {"split": split, "class": name, "end": CODECS[release.codec]}
    values["window"] = str(min(WINDOW, *(release.span(side)[0] for side in ("width", "height"))))
    for metric in sorted(release.metrics, key=lambda metric: (metric != "structure", metric)):
        measured = sorted(x for x in release.values(metric)[is_loaded].tolist() if math.isfinite(x))
        if measured:
            values |= {"metric": metric, "minimum": f"{math.floor(measured[len(measured) // 2] * 100) / 100:g}"}
            break
    return {key: Trusted(value) for key, value in values.items()}


def _source(source: Source) -> dict[str, Any]:
    authors = [author for author in source.authors if author]
    links = [_link(author, next(iter(source.urls[author]), "")) for author in authors[:MAX_AUTHORS]]
    if len(authors) > MAX_AUTHORS:
        links.append(Trusted(f"{len(authors) - MAX_AUTHORS:,} more"))
    if "" in source.authors:
        links.append(Trusted("not named"))
    return {
        "kind": source.kind,
        "name": source.name or Trusted("not named"),
        "licence": _licence(source.licence),
        "pairs": source.pairs,
        "authors": Trusted(", ".join(links)),
    }


def _licence(licence: str) -> Trusted:
    return _link(licence, _address(licence)) if licence.strip() else Trusted("none named")


def _link(text: str, url: str) -> Trusted:
    """Return a link where the URL is a web address, else the text alone."""
    escaped = markdown(text)
    try:
        parts = urlsplit(url)
        is_web_address = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_web_address = False
    if not (escaped and is_web_address and url.isprintable() and len(url) < MAX_URL):
        return Trusted(escaped)
    safe = quote(url, safe=":/?#@!&+,;=%~-._").replace("&", "&amp;")  # within <> nothing else of these is Markdown
    return Trusted(f"[{escaped}](<{safe}>)")


def _address(licence: str) -> str:
    """Return the URL of the text of a licence; "" for one that SPDX does not name."""
    if not SPDX.fullmatch(licence) or licence.startswith("LicenseRef-"):
        return ""
    return f"https://spdx.org/licenses/{licence}.html"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
