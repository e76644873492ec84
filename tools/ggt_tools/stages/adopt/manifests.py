"""Pairs that the manifest of a published set or of an edit trainer lists.

    HarnessIR         lq, gt, type, prompt: JSON or JSON lines (its README, "Input format: manifest")
    DiffSynth-Studio  edit_image, image, prompt: CSV, JSON or JSON lines
    musubi-tuner      control_path, image_path, caption: JSON lines
    Pico-Banana-400K  local_input_image, output_image, text: JSON lines, from its map_openimage_url_to_local.py

The prompt of a row becomes the prompt of the pair, its model the restorer, and its types the class. A row names files
of one folder or zip; no other file is opened, and nothing is downloaded.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from ggt_format.schema import DEGRADATIONS
from ggt_tools.errors import ConfigError
from ggt_tools.files.names import NameIndex
from ggt_tools.files.passed_over import merge
from ggt_tools.stages.adopt.image_files import ImageSource
from ggt_tools.stages.adopt.layouts import Listing, read_list_text, refused_images
from ggt_tools.stages.adopt.matching import Unmatched
from ggt_tools.stages.adopt.pair_rows import PairRow, PairRows

MANIFESTS = (".json", ".jsonl", ".csv")  # endings of the files that are read as manifests
COLUMNS = (  # of LQ image and GT image; the first that all rows have counts
    ("lq", "gt"),
    ("edit_image", "image"),
    ("control_path", "image_path"),
    ("control_path_0", "image_path"),
    ("local_input_image", "output_image"),
)
PROMPTS = ("prompt", "caption", "text")
CLASSES = ("type", "degradation", "class")
MODELS = ("model", "restorer")
# Of several types of one pair the first in this order gives the class: it is the order of HarnessIR's evaluation.
CLASS_ORDER = ("haze", "rain", "snow", "low_light", "mixed")
CLASS_NAMES = {"lowlight": "low_light", "mix": "mixed"} | {name: name for name in DEGRADATIONS}
MAX_LISTED = 5  # names of columns that a message shows


class Index(Protocol):
    """Finds the image that a name means; None where there is none, or more than one."""

    def find(self, name: str) -> str | None: ...


def list_by_manifest(
    source: ImageSource,
    path: Path,
    columns: Sequence[str],
    *,
    text: str | None = None,
    index: Index | None = None,
    class_names: Mapping[str, str] | None = None,
) -> Listing:
    """Pair the images that a manifest lists.

    Args:
        source: The folder or zip that the names are relative to. Absolute names are taken if they lie in that folder.
        path: The manifest.
        columns: Columns of LQ image and GT image; empty to find them by their usual names.
        text: Text of the manifest; None to read the file.
        index: Finds the images by the names that the manifest has; None for names relative to `source`.
        class_names: Classes by the types that the manifest has, besides those that are known.

    Raises:
        ConfigError: The manifest cannot be read, a row is not an object, or the columns are not clear.
    """
    rows = list(_read_rows(path, read_list_text(path) if text is None else text))
    lq_column, gt_column = _find_columns([row for _, row in rows], columns, path)
    known = CLASS_NAMES | {name.strip().lower(): value for name, value in (class_names or {}).items()}
    listed = _Listed(source=source, path=path, index=index or NameIndex(source.names), class_names=known)
    for where, row in rows:
        listed.add(row, row.get(lq_column), row.get(gt_column), where)
    passed_over = merge([source.passed_over])
    passed_over.counts["not_in_manifest"] = len(set(source.names) - listed.names)
    passed_over.counts = +passed_over.counts
    return Listing(
        pairs=PairRows(source, listed.rows),
        count=len(listed.rows),
        unmatched=(*listed.unmatched, *refused_images(source)),
        passed_over=passed_over,
        faults=source.faults,
    )


def is_manifest(path: Path, text: str) -> bool:
    """Return whether a text is a manifest of one of the forms that are known."""
    try:
        first = next(_read_rows(path, text), None)
    except ConfigError:
        return False
    return first is not None and any(lq in first[1] and gt in first[1] for lq, gt in COLUMNS)


def _read_rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the position and the fields of each row."""
    if path.suffix.lower() == ".csv":
        for number, fields in enumerate(csv.DictReader(io.StringIO(text, newline="")), 1):
            yield f"{path}: row {number}", fields
        return
    is_array = text.lstrip()[:1] == "["  # by the content: files .json with an object in each line occur
    lines = [text] if is_array else text.split("\n")  # not splitlines: JSON may contain U+2028
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path if is_array else where}: this is not JSON. Correct it.") from error
        for place, row in enumerate(value if is_array else [value], 1):
            if is_array:
                where = f"{path}: row {place}"
            if not isinstance(row, dict):
                raise ConfigError(f"{where}: this is not a JSON object. Correct the row.")
            yield where, row


def _find_columns(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], path: Path) -> tuple[str, str]:
    if not rows:
        raise ConfigError(f"{path}: there is no row. Name the manifest that lists the pairs.")
    names = set.intersection(*(set(row) for row in rows))
    if columns:
        if len(columns) != 2:
            raise ConfigError(f"--columns {','.join(columns)}: a manifest has two sides. Name two columns: LQ,GT")
        if missing := [name for name in columns if not any(name in row for row in rows)]:
            raise ConfigError(f"{path}: there is no column {missing[0]!r}. The rows have {_shown(rows[0])}.")
        return columns[0], columns[1]
    for lq, gt in COLUMNS:
        if lq in names and any(gt in row for row in rows):
            return lq, gt
    raise ConfigError(
        f"{path}: it is not clear which columns hold the pairs: the rows have {_shown(rows[0])}. Name them: "
        "--columns LQ,GT"
    )


def _shown(row: Mapping[str, Any]) -> str:
    more = ", ..." if len(row) > MAX_LISTED else ""
    return ", ".join(map(repr, list(row)[:MAX_LISTED])) + more


@dataclass(slots=True, kw_only=True)
class _Listed:
    """Turns the rows of a manifest into pairs and unmatched images."""

    source: ImageSource
    path: Path
    index: Index
    class_names: Mapping[str, str]
    rows: list[PairRow] = field(default_factory=list)
    unmatched: list[Unmatched] = field(default_factory=list)
    names: set[str] = field(default_factory=set)  # images that a row names
    _seen: set[tuple[str, str]] = field(default_factory=set)

    def add(self, row: Mapping[str, Any], lq_cell: Any, gt_cell: Any, where: str) -> None:
        """Add a row, with the cells of LQ image and GT image."""
        lq, gt = self._find(lq_cell), self._find(gt_cell)
        self.names |= {name for name in (lq, gt) if name}
        if not lq or not gt:
            cell, side, reason = (gt_cell, "gt", "no_output") if lq else (lq_cell, "lq", "no_original")
            self._refuse(lq or str(lq_cell), reason, f"{where}: {side}: {self._explain(cell)}")
        elif lq == gt:
            self._refuse(lq, "one_file", f"{where}: both sides name the same file, {lq}. Name its ground truth.")
        elif (lq, gt) in self._seen:
            self._refuse(lq, "duplicate_name", f"{where}: {lq} and {gt} are listed twice. Leave one of the rows.")
        else:
            self._seen.add((lq, gt))
            try:
                degradation = _read_class(row, self.class_names)
            except ValueError as error:
                self._refuse(lq, "unknown_class", f"{where}: {error}")
                return
            prompt, restorer = _first_text(row, PROMPTS), _first_text(row, MODELS)
            split = "test" if str(row.get("split") or "").strip().lower() == "test" else ""
            self.rows.append(PairRow(lq, gt, degradation=degradation, split=split, prompt=prompt, restorer=restorer))

    def _refuse(self, name: str, reason: str, detail: str) -> None:
        self.unmatched.append(Unmatched(name=name, reason=reason, detail=detail))

    def _find(self, cell: Any) -> str | None:
        """Return the name of the image that a cell names; None where there is none in the folder or zip."""
        if isinstance(cell, list) and len(cell) == 1:  # DiffSynth-Studio allows several images to edit
            cell = cell[0]
        if not isinstance(cell, str):
            return None
        written = PurePosixPath(cell.replace("\\", "/"))
        if isinstance(self.source.path, Path):
            root = PurePosixPath(self.source.path.absolute().as_posix())
            if written.is_relative_to(root):
                return self.index.find(written.relative_to(root).as_posix())
        return self.index.find(cell)

    def _explain(self, cell: Any) -> str:
        if isinstance(cell, str) and (fault := self.source.refused.get(cell)) is not None:
            return str(fault)
        if not cell:
            return "no file is named. Name it, or leave the row out."
        return f"{cell!r} is not in {self.source.path}. Name the folder that the files are relative to: --images PATH"


def _read_class(row: Mapping[str, Any], class_names: Mapping[str, str]) -> str:
    """Return the class that the types of a row give; "" where it states none.

    Raises:
        ValueError: A type is not known.
    """
    cell: Any = next((row[name] for name in CLASSES if row.get(name)), [])
    types = cell if isinstance(cell, list) else str(cell).split("|")
    names = [str(name).strip().lower() for name in types if str(name).strip()]
    if unknown := [name for name in names if name not in class_names]:
        known = ", ".join(DEGRADATIONS)
        raise ValueError(f"the class {unknown[0]!r} is not known. Correct it, or leave it empty. Known: {known}.")
    classes = [class_names[name] for name in names]
    return next((name for name in CLASS_ORDER if name in classes), classes[0] if classes else "")


def _first_text(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return the first text of these fields that is not empty."""
    return next((row[name].strip() for name in names if isinstance(row.get(name), str) and row[name].strip()), "")
