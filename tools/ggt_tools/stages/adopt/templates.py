"""Pairs by a mapping file: where a release has a layout that is not known, its user states it as templates of names.

    [[pairs]]
    lq = "GGT-100K/{split}/{class}/a/{name}.*"
    gt = "GGT-100K/{split}/{class}/b/{name}.*"

    [classes]
    "low light" = "low_light"

Two images are a pair if they fit the two templates with the same values in braces. `{class}` is looked up in
`[classes]` and among the known words, and `{split}` is the test split if it begins with `test`. `*` stands for any text
within a folder or file name, `**` for any folders. `class` and `split` can also be stated for all pairs of a table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ggt_format.schema import DEGRADATIONS
from ggt_tools.errors import ConfigError
from ggt_tools.files.names import shorten
from ggt_tools.stages.adopt.image_files import ImageSource
from ggt_tools.stages.adopt.layouts import Listing, refused_images
from ggt_tools.stages.adopt.matching import Unmatched
from ggt_tools.stages.adopt.pair_rows import PairRow, PairRows
from ggt_tools.stages.adopt.trees import CLASS_WORDS
from ggt_tools.toml import read_toml

KEYS = frozenset(("lq", "gt", "ref", "class", "split"))
SPLITS = ("train", "test")
_FIELD = re.compile(r"\{(\w+)\}")
_TOKEN = re.compile(r"\{(\w+)\}|\*\*/?|\*|[^{}*]+|[{}]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """The names of the images of one or more pairs.

    Attributes:
        lq: Matches the names of LQ images.
        gt: Matches those of GT images.
        ref: Matches those of true ground truths; None for none.
        degradation: Class of the pairs; "" where `{class}` states it, or nothing.
        split: Split of the pairs; "" where `{split}` states it, or nothing.
    """

    lq: re.Pattern[str]
    gt: re.Pattern[str]
    ref: re.Pattern[str] | None = None
    degradation: str = ""
    split: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A mapping file.

    Attributes:
        path: The file.
        templates: Its tables `[[pairs]]`; none if it states classes alone.
        classes: Classes by the names that the release has for them, in lower case.
        test_list: Name of the list of the test split, a file of the release or one on this machine; "" for none.
    """

    path: Path
    templates: tuple[Template, ...]
    classes: Mapping[str, str]
    test_list: str = ""


def read_layout(path: Path) -> Layout:
    """Read a mapping file.

    Raises:
        ConfigError: It cannot be read, or states something that is not known.
    """
    content = read_toml(path)
    if unknown := sorted(content.keys() - {"pairs", "classes", "test_list"}):
        raise ConfigError(f"{path}: {unknown[0]!r} is not known. A mapping file has pairs, classes and test_list.")
    classes = content.get("classes", {})
    tables = content.get("pairs", [])
    if not isinstance(classes, dict) or not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        raise ConfigError(f"{path}: pairs are tables [[pairs]], and classes are a table [classes]. Correct it.")
    for name, value in classes.items():
        if value not in DEGRADATIONS:
            raise ConfigError(
                f"{path}: classes: {name}: the class {value!r} is not known. Choose one of: {', '.join(DEGRADATIONS)}."
            )
    return Layout(
        path=path,
        templates=tuple(_read_table(path, number, table) for number, table in enumerate(tables, 1)),
        classes={name.lower(): value for name, value in classes.items()},
        test_list=str(content.get("test_list", "")),
    )


def _read_table(path: Path, number: int, table: Mapping[str, object]) -> Template:
    where = f"{path}: pairs {number}"
    if unknown := sorted(table.keys() - KEYS):
        raise ConfigError(f"{where}: {unknown[0]!r} is not known. A table has {', '.join(sorted(KEYS))}.")
    texts = {key: str(value) for key, value in table.items()}
    for side in ("lq", "gt"):
        if side not in texts:
            raise ConfigError(f"{where}: {side} is missing. State it as a template of names.")
    degradation, split = texts.get("class", ""), texts.get("split", "")
    if degradation and degradation not in DEGRADATIONS:
        raise ConfigError(f"{where}: the class {degradation!r} is not known. Choose one of: {', '.join(DEGRADATIONS)}.")
    if split and split not in SPLITS:
        raise ConfigError(f"{where}: the split {split!r} is not known. Choose train or test.")
    patterns = {side: _compile(texts[side], f"{where}: {side}") for side in ("lq", "gt", "ref") if side in texts}
    fields = {side: set(pattern.groupindex) for side, pattern in patterns.items()}
    own = {side: names - {"class", "split"} for side, names in fields.items()}
    if not own["lq"] or own["gt"] != own["lq"]:
        raise ConfigError(
            f"{where}: lq has {_braces(fields['lq'])} and gt has {_braces(fields['gt'])}. Both need the same, at least "
            "{name}; only {class} and {split} may be missing in one of them."
        )
    if missing := (fields["lq"] & fields["gt"]) - fields.get("ref", fields["lq"]):
        raise ConfigError(f"{where}: ref: {_braces(missing)} is missing. State it as in lq and gt.")
    return Template(lq=patterns["lq"], gt=patterns["gt"], ref=patterns.get("ref"), degradation=degradation, split=split)


def _braces(fields: set[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in sorted(fields)) or "no field"


def _compile(text: str, where: str) -> re.Pattern[str]:
    """Turn a template into a regular expression; a field that stands twice has the same value twice."""
    seen: set[str] = set()
    parts = []
    for token in _TOKEN.finditer(text):
        piece = token[0]
        if name := token[1]:
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+?)")
            seen.add(name)
        elif piece.startswith("**"):
            parts.append("(?:.*/)?" if piece.endswith("/") else ".*")
        elif piece == "*":
            parts.append("[^/]*")
        elif piece in "{}":
            raise ConfigError(f"{where}: {text}: a brace is open. Write a field as {{name}}.")
        else:
            parts.append(re.escape(piece))
    try:
        return re.compile("".join(parts), re.IGNORECASE)
    except re.error as error:
        raise ConfigError(f"{where}: {text}: this is not a template: {error}. Write a field as {{name}}.") from error


def list_by_layout(source: ImageSource, layout: Layout) -> Listing:
    """Pair the images that fit the templates of a mapping file.

    Args:
        source: The images of both sides.
        layout: The mapping file.

    Raises:
        ConfigError: No image fits a template.
    """
    rows: list[PairRow] = []
    unmatched: list[Unmatched] = []
    used: set[str] = set()
    for number, template in enumerate(layout.templates, 1):
        # a class or split that only one side names cannot tell whether two images are a pair
        shared = sorted(set(template.lq.groupindex) & set(template.gt.groupindex))
        sides = [_fit(pattern, source.names, shared) for pattern in (template.lq, template.gt)]
        for side, groups in zip(("lq", "gt"), sides, strict=True):
            if not groups:
                shown = shorten(source.names)
                raise ConfigError(
                    f"{layout.path}: pairs {number}: no image fits the template of {side}. There are: {shown}. Correct "
                    "the template."
                )
        refs = _fit(template.ref, source.names, shared) if template.ref else {}
        for key in sorted(sides[0].keys() | sides[1].keys()):
            lqs, gts = sides[0].get(key, []), sides[1].get(key, [])
            names = [name for name, _ in (*lqs, *gts)]
            used.update(names)
            if len(lqs) == len(gts) == 1:
                row = _row(lqs[0], gts[0], refs.get(key, []), template, layout)
                if isinstance(row, PairRow):
                    rows.append(row)
                else:
                    unmatched.append(row)
                used.update(name for name, _ in refs.get(key, []))
            elif lqs and gts:
                detail = f"{layout.path}: it is not clear which of {shorten(names)} belong together"
                unmatched += [Unmatched(name=name, reason="ambiguous", detail=detail) for name in names]
            else:
                reason = "no_output" if lqs else "no_original"
                detail = f"no {'gt' if lqs else 'lq'} fits the template with the same values"
                unmatched += [Unmatched(name=name, reason=reason, detail=f"{name}: {detail}") for name in names]
    rest = [name for name in source.names if name not in used]
    unmatched += [
        Unmatched(name=name, reason="no_role", detail=f"{name}: no template of {layout.path} fits") for name in rest
    ]
    return Listing(
        pairs=PairRows(source, rows),
        count=len(rows),
        unmatched=(*unmatched, *refused_images(source)),
        passed_over=source.passed_over,
        faults=source.faults,
    )


_Fit = tuple[str, Mapping[str, str]]


def _fit(pattern: re.Pattern[str], names: Sequence[str], fields: Sequence[str]) -> dict[tuple[str, ...], list[_Fit]]:
    """Return the names that fit a template, with the values of its fields, by the values of some of the fields."""
    groups: dict[tuple[str, ...], list[_Fit]] = {}
    for name in names:
        if match := pattern.fullmatch(name):
            values = match.groupdict()
            key = tuple(values[field].lower() for field in fields)
            groups.setdefault(key, []).append((name, values))
    return groups


def _row(lq: _Fit, gt: _Fit, refs: Sequence[_Fit], template: Template, layout: Layout) -> PairRow | Unmatched:
    values = {**gt[1], **lq[1]}
    degradation = template.degradation
    if word := values.get("class", ""):
        spaced = re.sub(r"[ _.-]+", " ", word.lower()).strip()
        degradation = layout.classes.get(word.lower(), CLASS_WORDS.get(spaced, ""))
        if not degradation:
            detail = f"{lq[0]}: the class {word!r} is not known. Add it to [classes] of {layout.path}"
            return Unmatched(name=lq[0], reason="unknown_class", detail=detail)
    split = template.split or values.get("split", "")
    return PairRow(
        lq[0],
        gt[0],
        refs[0][0] if len(refs) == 1 else "",
        degradation=degradation,
        split="test" if split.lower().startswith("test") else "",
    )
