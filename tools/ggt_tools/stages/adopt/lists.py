"""Pairs that a list names: BasicSR's meta info text, or the metadata.jsonl of an ImageFolder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ggt_tools.errors import ConfigError
from ggt_tools.files.names import NameIndex, normalize_name
from ggt_tools.files.passed_over import merge
from ggt_tools.stages.adopt import ExternalPair
from ggt_tools.stages.adopt.datasets import find_columns
from ggt_tools.stages.adopt.image_files import ImageSource
from ggt_tools.stages.adopt.layouts import Listing, pair_of_source, read_list_text, refused_images, without_reference
from ggt_tools.stages.adopt.matching import Unmatched
from ggt_tools.stages.adopt.pair_rows import reader

# What BasicSR writes after a name: the shape of the image and, as an option, its level of compression.
_SHAPE = re.compile(r"[ \t]+\(\d+(?:, ?\d+){1,2}\)(?:[ \t]+\d+)?$")

Form = Callable[[str], str]

# --- BasicSR's meta info --------------------------------------------------------------------------------------------


def list_by_meta_info(path: Path, originals: ImageSource, outputs: ImageSource) -> Listing:
    """Pair the images that a meta info text of BasicSR lists: a line for each pair, with the name of its ground truth.

    The LQ image has the same name; or else the same but for the file extension; or else the same but for the extension
    and the ground truth's folders, as BasicSR looks for it. Where several images fit in one of these steps, they are
    reported as `ambiguous`. Images that no line names are reported too.

    Args:
        path: The text.
        originals: The LQ images.
        outputs: The ground truths.

    Raises:
        ConfigError: The text cannot be read.
    """
    unmatched: list[Unmatched] = []
    index = NameIndex(outputs.names)
    original_of: dict[str, str] = {}  # for each listed output that exists, the name of its original, or ""
    listed: set[str] = set()
    for line in read_list_text(path).split("\n"):  # not splitlines: a name may contain U+2028
        written = _SHAPE.sub("", line.strip(" \t\r"))
        name = index.find(written) or written
        if name in listed:
            unmatched.append(Unmatched(name=name, reason="duplicate_name", detail=f"{path}: {name} is listed twice"))
        elif name:
            listed.add(name)
            if index.find(name) is None:
                detail = f"{path}: {name} is not in {outputs.path}"
                unmatched.append(Unmatched(name=name, reason="no_output", detail=detail))
            else:
                original_of[name] = ""
    forms: tuple[tuple[Form, Form], ...] = (
        (str, str),
        (normalize_name, normalize_name),
        (_without_extension, _without_extension),
        (lambda name: PurePosixPath(_without_extension(name)).name, _without_extension),
    )
    open_outputs, open_originals = list(original_of), list(originals.names)
    for output_form, original_form in forms:
        step = _match_step(open_outputs, open_originals, output_form, original_form)
        original_of |= step.original_of
        for some_outputs, some_originals in step.ambiguous:
            shown = ", ".join((*some_originals, *some_outputs)[:6])
            detail = f"{path}: it is not clear which of {shown} belong together"
            unmatched += [
                Unmatched(name=name, reason="ambiguous", detail=detail) for name in (*some_outputs, *some_originals)
            ]
        open_outputs = [name for name in open_outputs if name not in step.outputs]
        open_originals = [name for name in open_originals if name not in step.originals]
    unlisted = [name for name in outputs.names if name not in listed]
    for names, reason, detail in (
        (open_outputs, "no_original", f"is not in {originals.path}"),
        (unlisted, "no_original", f"is in {outputs.path}, but on no line"),
        (open_originals, "no_output", f"is in {originals.path}, but on no line"),
    ):
        unmatched += [Unmatched(name=name, reason=reason, detail=f"{path}: {name} {detail}") for name in names]
    pairs = [
        ExternalPair(name=lq, output=output, lq=reader(originals, lq), gt=reader(outputs, output))
        for output, lq in original_of.items()
        if lq
    ]
    return Listing(
        pairs=pairs,
        count=len(pairs),
        unmatched=(*unmatched, *refused_images(originals), *refused_images(outputs)),
        passed_over=merge([originals.passed_over, outputs.passed_over]),
        faults=(*originals.faults, *outputs.faults),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """What one step of matching decides.

    Attributes:
        original_of: The matches: the original of each output.
        ambiguous: Groups of outputs and originals that are ambiguous.
        outputs: All outputs that are matched or ambiguous.
        originals: All originals that are.
    """

    original_of: dict[str, str] = field(default_factory=dict)
    ambiguous: list[tuple[list[str], list[str]]] = field(default_factory=list)
    outputs: set[str] = field(default_factory=set)
    originals: set[str] = field(default_factory=set)


def _match_step(outputs: Sequence[str], originals: Sequence[str], output_form: Form, original_form: Form) -> _Step:
    """Match the names that have the same form."""
    groups: dict[str, tuple[list[str], list[str]]] = {}
    for name in outputs:
        groups.setdefault(output_form(name), ([], []))[0].append(name)
    for name in originals:
        groups.setdefault(original_form(name), ([], []))[1].append(name)
    step = _Step()
    for some_outputs, some_originals in groups.values():
        if not (some_outputs and some_originals):
            continue
        step.outputs.update(some_outputs)
        step.originals.update(some_originals)
        if len(some_outputs) == len(some_originals) == 1:
            step.original_of[some_outputs[0]] = some_originals[0]
        else:
            step.ambiguous.append((some_outputs, some_originals))
    return step


def _without_extension(name: str) -> str:
    return PurePosixPath(normalize_name(name)).with_suffix("").as_posix()


# --- metadata.jsonl -------------------------------------------------------------------------------------------------


def list_by_metadata(source: ImageSource, path: Path, columns: Sequence[str]) -> Listing:
    """Pair the images that a metadata.jsonl lists in two or three columns `*_file_name`, relative to its folder.

    Args:
        source: The folder of the images.
        path: The metadata.jsonl.
        columns: Columns, without `_file_name`, of LQ image, ground truth and, optionally, true ground truth; empty to
            find them by their usual names.

    Raises:
        ConfigError: A line is wrong, or the columns are not clear.
    """
    rows = _MetadataRows(source, path)
    column_names: list[str] | None = None
    for number, line in enumerate(read_list_text(path).split("\n"), 1):  # not splitlines: JSON may contain U+2028
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise TypeError(line)
            files = {name.removesuffix("_file_name"): row[name] for name in row if name.endswith("_file_name")}
        except (ValueError, TypeError, RecursionError) as error:
            raise ConfigError(f"{where}: this is not a JSON object. Correct the line.") from error
        if column_names is None:
            column_names = find_columns(list(files), columns, str(path))
        rows.add([files.get(name) for name in column_names], column_names, where)
    unmatched = [
        *rows.unmatched,
        *(
            Unmatched(name=name, reason="no_role", detail=f"{path}: {name} is in {source.path}, but on no line")
            for name in source.names
            if name not in rows.listed
        ),
        *(entry for entry in refused_images(source) if entry.name not in rows.listed),
    ]
    # the list itself was counted as a file that is passed over
    passed_over = source.passed_over.without(path.suffix.lower())
    return Listing(
        pairs=rows.pairs,
        count=len(rows.pairs),
        unmatched=tuple(unmatched),
        passed_over=passed_over,
        faults=source.faults,
    )


class _MetadataRows:
    """Turns the rows of a metadata.jsonl into pairs and unmatched images."""

    def __init__(self, source: ImageSource, path: Path) -> None:
        self.pairs: list[ExternalPair] = []
        self.unmatched: list[Unmatched] = []
        self.listed: set[str] = set()  # names of images that a row names, as written and as they exist
        self._source, self._path, self._index = source, path, NameIndex(source.names)

    def add(self, files: Sequence[Any], columns: Sequence[str], where: str) -> None:
        """Add a row: what its cells hold, in the order of the columns."""
        names = [self._index.find(file) if isinstance(file, str) else None for file in files]
        self.listed |= {name for name in (*files, *names) if isinstance(name, str)}
        lq, gt, *refs = names
        if lq is None or gt is None:
            side = 0 if lq is None else 1
            reason, detail = self._explain(files[side], ("no_original", "no_output")[side])
            detail = f"{where}: {('lq', 'gt')[side]}: {detail}"
            self.unmatched.append(Unmatched(name=str(files[0]), reason=reason, detail=detail))
        elif lq == gt:
            detail = f"{where}: {columns[0]} and {columns[1]} name the same file, {lq}. Name its ground truth."
            self.unmatched.append(Unmatched(name=lq, reason="one_file", detail=detail))
        else:
            self.pairs.append(pair_of_source(self._source, lq, gt, refs[0] if refs else None))
            if None in refs:
                detail = self._explain(files[2], "")[1] if files[2] else "no file is named"
                self.unmatched.append(without_reference(str(files[0]), f"{where}: {columns[2]}: {detail}"))

    def _explain(self, file: Any, reason: str) -> tuple[str, str]:
        """Return the reason and the message of a file that cannot be read or does not exist."""
        fault = self._source.refused.get(str(file))
        if fault is not None:
            return fault.reason, str(fault)
        return reason, f"{file!r} is not in {self._source.path}"
