"""export: pairs of a dataset folder as training code out there reads them. Nothing is decoded or encoded anew.

    formats.py   where each layout puts its files, and what it says of them

    basicsr       lq/KEY.png, gt/KEY.png, meta_info_SPLIT.txt: BasicSR's PairedImageDataset
    lmdb          lq.lmdb, gt.lmdb, each with its meta_info.txt: the same by its lmdb backend
    pairs         KEY_lq.png, KEY_gt.png in one folder
    imagefolder   lq/KEY.png, gt/KEY.png, metadata.jsonl with lq_file_name and gt_file_name: datasets' imagefolder
    parquet       SPLIT-00000-of-00001.parquet, two image columns and the facts: datasets, and any parquet reader
    webdataset    SPLIT-00000.tar: KEY.json, KEY.lq.png, KEY.gt.png

Each file appears whole or not at all, and one that is there and right is not written again: run it again after a kill,
or after files were lost, and it goes on. export.json says what the folder holds, of which release; credits.csv whose
each pair is, under which licence. Where priors are asked for, README.md tells `datasets` that they are not train.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ggt_format
from ggt_format.images import check_image
from ggt_format.pairs import PairDataset
from ggt_format.roots import Root
from ggt_format.schema import KEY, PRIOR, fact_columns
from ggt_tools.errors import ConfigError, ShardError
from ggt_tools.stages.export.formats import FORMATS, MANY, Known, Row, Source, put, split_files
from ggt_tools.workspace.ledger import write_whole

__all__ = ["FORMATS", "ExportConfig", "export", "parse_where"]

ABOUT = "export.json"
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # what a spreadsheet skips is as bad as what it begins with (OWASP)
_CLAUSE = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(>=|<=|=)\s*(.*?)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """`to`: one of FORMATS. `where` as in `select`. `splits`: () for all. `file_bytes`: of a tar or parquet."""

    to: str
    where: Mapping[str, Any] | None = None
    splits: tuple[str, ...] = ()
    file_bytes: int = 500_000_000

    def __post_init__(self) -> None:
        if self.to not in FORMATS:
            raise ConfigError(f"--to {self.to}: is none of {', '.join(FORMATS)}")
        if self.file_bytes < 1:
            raise ConfigError(f"--file-bytes {self.file_bytes}: is not above 0")


def export(
    root: str | Path, out: Path, config: ExportConfig, *, progress: Callable[[int], object] = lambda done: None
) -> dict[str, int]:
    """Writes the pairs of a dataset folder or URL that `where` leaves to `out`; how many of each split.

    Raises ConfigError where `out` holds something else, ShardError where bytes of the release are damaged; what was
    written until then stays, and is gone on from.
    """
    opened = ggt_format.open_root(str(root))
    sources = plan(opened, config)
    about = {
        "to": config.to,
        "of": opened.url,
        "identity": opened.identity,
        "version": opened.manifest["dataset_version"],
        "where": None if config.where is None else {name: _plain(value) for name, value in config.where.items()},
        "file_bytes": config.file_bytes,
        "pairs": {source.split: len(source.rows) for source in sources},
        "local_only": opened.manifest.get("local_only", ""),
    }
    known = _begun(out, about)
    for source in sources:
        FORMATS[config.to](source, out, config.file_bytes, known, progress)
    put(out / "credits.csv", _credits(sources).encode())
    if any(source.split == PRIOR for source in sources):
        put(out / "README.md", _readme(config.to, [source.split for source in sources]).encode())
    sizes = {path.relative_to(out).as_posix(): path.stat().st_size for each in MANY for path in sorted(out.glob(each))}
    put(out / ABOUT, _json(about | {"done": True, "files": sizes}))
    return dict(about["pairs"])


def plan(root: Root, config: ExportConfig) -> list[Source]:
    """What is to be written, by split. Raises ConfigError where nothing is left, ShardError over a hostile key."""
    splits = list(config.splits or root.manifest["splits"])
    sources, nothing = [], []
    for split in splits:
        try:
            facts = [name for name in fact_columns(root.metrics) if name != "key"]
            pairs = PairDataset(
                root.url, split, where=config.where, columns=[*facts, "lq_size", "gt_size"], decode=False
            )
        except ConfigError as fault:
            nothing.append(fault)
            continue
        sources.append(_source(root, split, pairs, config, facts))
    if nothing and (not sources or config.splits):
        raise nothing[0]
    return sources


def _source(root: Root, split: str, pairs: PairDataset, config: ExportConfig, facts: list[str]) -> Source:
    columns = ["key", *facts, "lq_size", "gt_size"]
    table = ggt_format.index(root.url, split, where=config.where, columns=columns)
    rows = [Row(facts={name: row[name] for name in columns[:-2]}, sizes=(row["lq_size"], row["gt_size"]))
            for row in table.to_pylist()]  # fmt: skip
    suffix = ggt_format.CODECS[root.manifest["codec"]]
    for row in rows:
        if not KEY.fullmatch(str(row.key)):  # it becomes a file's name, and the index comes from outside
            raise ShardError(f"{root.url}: {split}: key {row.key!r} is no key; do not use this release")

    def read(number: int) -> tuple[bytes, bytes]:
        item = pairs[number]
        if item["key"] != rows[number].key:
            raise ShardError(f"{root.url}: {split}: the index has changed while it was read; begin anew")
        for name in ("lq", "gt"):
            check_image(item[name], f"{root.url}: {split}: key {item['key']}: {name}")
        return item["lq"], item["gt"]

    return Source(split=split, suffix=suffix, metrics=tuple(root.metrics), rows=rows, read=read)


def parse_where(clauses: list[str]) -> dict[str, Any] | None:
    """The `where` that texts say: "degradation=rain,snow", "scores.structure>=0.5", "height<=1024". None for none."""
    where: dict[str, Any] = {}
    for clause in clauses:
        found = _CLAUSE.fullmatch(clause)
        if found is None or not found[3]:
            raise ConfigError(f"--where {clause}: is not COLUMN=VALUE[,VALUE], COLUMN>=NUMBER or COLUMN<=NUMBER")
        name, how, text = found.groups()
        if how == "=":
            if name in where:
                raise ConfigError(f"--where {clause}: {name} is asked for twice; put commas between its values")
            where[name] = [value.strip() for value in text.split(",")]
            continue
        try:
            bound = int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
        except ValueError as fault:
            raise ConfigError(f"--where {clause}: {text!r} is no number") from fault
        least, most = where.get(name, (None, None)) if isinstance(where.get(name), tuple) else (None, None)
        if name in where and not isinstance(where[name], tuple):
            raise ConfigError(f"--where {clause}: {name} has values already; ask for one or the other")
        where[name] = (bound, most) if how == ">=" else (least, bound)
    return where or None


def _begun(out: Path, about: Mapping[str, Any]) -> Known:
    """The sizes of its files where this very export came to its end in `out`. Marks an empty folder as its place."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is a file; name a folder")
    if out.is_dir() and any(out.iterdir()):
        try:
            known = json.loads((out / ABOUT).read_bytes())
        except (OSError, ValueError) as fault:
            raise ConfigError(f"{out}: holds other things; name a new folder") from fault
        done, sizes = (known.pop("done", False), known.pop("files", None)) if isinstance(known, dict) else (False, None)
        if known != about:
            raise ConfigError(f"{out}: holds another export, or one of another release; name a new folder")
        return sizes if done and isinstance(sizes, dict) else None
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / ABOUT, _json(about))
    return None


def _json(about: Mapping[str, Any]) -> bytes:
    return (json.dumps(about, indent=1) + "\n").encode()


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, list, set)) else value


def _readme(to: str, splits: list[str]) -> str:
    """Tells `datasets` which files are priors: by itself it calls files train whose name tells of no split it knows."""
    path = split_files(to, PRIOR)
    # a config of their own, since what was measured of none of them has another type there
    configs = {"default": [split for split in splits if split != PRIOR], "prior": [PRIOR]}
    text = "---\nconfigs:\n"
    for name, those in configs.items():
        files = [f"  - split: {split}\n    path: {split_files(to, split)}\n" for split in those]
        text += f"- config_name: {name}\n  data_files:\n{''.join(files)}" if files else ""
    return (
        f"{text}---\n\n`{path}` holds visual priors, which are no ground truth. They load as a config of their own:\n"
        '`datasets.load_dataset("THIS FOLDER", "prior")`. A reader that is told a format or a folder does not look\n'
        "here, and may call them `train`, which they are not: "
        f'give it `data_files={{"prior": "{path}"}}`.\n'
    )


def _credits(sources: list[Source]) -> str:
    """Whose each photograph is: licences ask for it to go along."""
    file = io.StringIO(newline="")
    names = ("key", "licence", "author", "source", "source_name", "url", "restorer")
    table = csv.writer(file, lineterminator="\n")
    table.writerow(("split", *names))
    for source in sources:
        for row in source.rows:
            cells = (source.split, *(str(row.facts[name]) for name in names))
            # a cell that a spreadsheet would take for a formula is a text from outside
            table.writerow("'" + cell if cell[:1] in FORMULA else cell for cell in cells)
    return file.getvalue()
