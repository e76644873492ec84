"""The README and the LICENSE of a release. The prose stands in dataset_card/card/, a file a section."""

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
from ggt_tools.stages.card import only_priors, whole_front_matter
from ggt_tools.stages.card.release import Release, Source
from ggt_tools.stages.card.text import Trusted, fenced, markdown, plain, quoted

ROWS = 40  # of a table by source; LICENSE has them all
AUTHORS = 8  # named in a row
SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*", re.ASCII)
WINDOW = 256  # pixels of the snippet's crop, where the pairs are as large


def page(release: Release) -> str:
    """The README. Raises ConfigError where jinja2 is not installed."""
    templates = environment(_prose(), autoescape=False, finalize=_shown, keep_trailing_newline=True)
    text = templates.get_template("card.md").render(_facts(release))
    return whole_front_matter(release.root.manifest) + re.sub(r"\n{3,}", "\n\n", text)


def licences(release: Release) -> str:
    """The LICENSE: whose the photographs are, and under which licence, a line an author of a source."""
    lines = [
        f"ggt-100k {release.version}: each pair is under the licence of its photograph.",
        "Licence, author, source and address of each stand in index/*.parquet and in the pair's JSON, by its key.",
    ]
    lines += _whose(release)
    if release.priors is not None:
        lines += ["", "", "Of the visual priors, which are no pairs and lie in data/*/prior-*.tar:"]
        lines += _whose(release.priors, "prior")
    return "\n".join(lines) + "\n"


def _whose(release: Release, what: str = "pair") -> list[str]:
    """Lines by licence, source and author."""
    lines = []
    for licence, pairs in release.licences.items():
        lines += ["", f"{plain(licence) or 'no licence named'}: {_pairs(pairs, what)}"]
        if _address(licence):
            lines.append(f"  {_address(licence)}")
        for source in release.sources:
            if source.licence != licence:
                continue
            lines.append(f"  from {plain(source.name) or 'a source without a name'} ({plain(source.kind)})")
            for author, count in source.authors.items():
                where = source.urls[author]
                at = f", {plain(where[0], 2000)}" if len(where) == 1 else f", {len(where):,} addresses" if where else ""
                lines.append(f"    {plain(author, 1000) or 'author not named'}: {_pairs(count, what)}{at}")
    return lines


def _prose() -> Path:
    """Where the sections stand: beside this file in the wheel, in dataset_card/card/ of a checkout."""
    for folder in (Path(__file__).parent / "prose", Path(__file__).parents[4] / "dataset_card/card"):
        if (folder / "card.md").is_file():
            return folder
    raise ConfigError("the card's prose ships with the package, and is not beside it; install it: pip install ggt100k")


def _shown(value: Any) -> Any:
    """What an expression of the template becomes: a text is taken for one from outside, unless it is Trusted."""
    if isinstance(value, str):
        return value if isinstance(value, Trusted) else Trusted(markdown(value))
    return f"{value:,}" if isinstance(value, int) else value


def _facts(release: Release) -> dict[str, Any]:
    splits, classes = release.splits, release.degradations
    return {
        "version": Trusted(release.version),
        "repo": Trusted(release.repo),
        "codec": release.codec,
        "members": Trusted(", ".join(f"`{{key}}.{end}`" for end in _members(release))),
        "splits": {split: sum(counts.values()) for split, counts in splits.items()},
        "pairs": release.pairs,
        "priors": release.priors.pairs if release.priors is not None else 0,
        "only_priors": Trusted(", ".join(f"`{name}`" for name in only_priors(release.root.manifest))),
        "shards": len(release.shards),
        "size": Trusted(_size(release.bytes)),
        "classes": [(_name(name), [splits[split].get(name, 0) for split in splits]) for name in classes],
        "absent": Trusted(", ".join(f"`{name}`" for name in DEGRADATIONS if name not in classes)),
        "sides": [release.span(side) for side in ("width", "height")],
        "made": [day[:10] for day in release.span("created")],
        "kinds": [(kind, sum(numbers)) for kind, numbers in release.kinds.items()],
        "sources": [_source(source) for source in release.sources[:ROWS]],
        "more": (len(release.sources[ROWS:]), sum(source.pairs for source in release.sources[ROWS:])),
        "makers": release.makers,
        "spreads": [
            (
                _name(one.metric),
                one.measured,
                *(Trusted(f"{x:.3g}" if math.isfinite(x) else "") for x in (one.low, one.middle, one.high)),
            )
            for one in release.spreads
        ],
        "unmeasured": [
            (_name(one.metric), release.pairs - one.measured) for one in release.spreads if one.measured < release.pairs
        ],
        "funnel": [
            (_name(stage.stage), stage.entered, stage.left, [(count, _name(reason)) for reason, count in stage.reasons])
            for stage in release.funnel
        ],
        "gate": Trusted(fenced(release.gate, "toml")),
        "licences": [(_licence(licence), pairs) for licence, pairs in release.licences.items()],
        "nobody": sum(source.authors.get("", 0) for source in release.sources),
        "sample": [Trusted(f"`{key}`") for key in release.sample],
        "changes": Trusted(quoted(release.changes)),
        "example": _example(release),
    }


def _name(name: str) -> Trusted:
    """A name of the format's own kind as code; any other is a text from outside."""
    return Trusted(f"`{name}`" if METRIC.fullmatch(name) else markdown(name))


def _members(release: Release) -> tuple[str, ...]:
    end = CODECS[release.codec]
    return "json", f"lq.{end}", f"gt.{end}"


def _example(release: Release) -> dict[str, Trusted]:
    """What the snippets load: a split and a class with pairs, a score that some of these reach, a window that fits."""
    split = release.main_split
    name = max(release.splits[split], key=lambda one: release.splits[split][one])
    of_split = pc.equal(release.table["split"], split)
    here = pc.and_(of_split, pc.equal(release.table["degradation"], name)).to_numpy()
    found = {"split": split, "class": name, "end": CODECS[release.codec]}
    found["window"] = str(min(WINDOW, *(release.span(side)[0] for side in ("width", "height"))))
    for metric in sorted(release.metrics, key=lambda one: (one != "structure", one)):
        known = sorted(x for x in release.values(metric)[here].tolist() if math.isfinite(x))
        if known:
            found |= {"metric": metric, "least": f"{math.floor(known[len(known) // 2] * 100) / 100:g}"}
            break
    return {key: Trusted(value) for key, value in found.items()}


def _source(source: Source) -> dict[str, Any]:
    named = [author for author in source.authors if author]
    shown = [_link(author, next(iter(source.urls[author]), "")) for author in named[:AUTHORS]]
    if len(named) > AUTHORS:
        shown.append(Trusted(f"{len(named) - AUTHORS:,} more"))
    if "" in source.authors:
        shown.append(Trusted("not named"))
    return {
        "kind": source.kind,
        "name": source.name or Trusted("not named"),
        "licence": _licence(source.licence),
        "pairs": source.pairs,
        "authors": Trusted(", ".join(shown)),
    }


def _licence(licence: str) -> Trusted:
    return _link(licence, _address(licence)) if licence.strip() else Trusted("none named")


def _link(text: str, url: str) -> Trusted:
    """A link where the address is one of the web, else the text alone."""
    shown = markdown(text)
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable() and len(url) < 2000
    except ValueError:
        right = False
    if not right or not shown:
        return Trusted(shown)
    safe = quote(url, safe=":/?#@!&+,;=%~-._").replace("&", "&amp;")  # within <> nothing else of these is Markdown
    return Trusted(f"[{shown}](<{safe}>)")


def _address(licence: str) -> str:
    """Where the text of a licence stands; "" of one that SPDX does not name."""
    if not SPDX.fullmatch(licence) or licence.startswith("LicenseRef-"):
        return ""
    return f"https://spdx.org/licenses/{licence}.html"


def _pairs(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
