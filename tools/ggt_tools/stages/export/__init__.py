"""export: write pairs of a release in the layouts that training code reads. Images keep their bytes.

    formats.py        the layouts that hold a release's images, most of them with its facts
    preferences.py    the layout of kept and rejected restorations
    conditions.py     conditions on the pairs, as the command line has them
    edit_formats.py   the layouts of projects that train image editing models, with a prompt for each pair
    run.py            the command

    basicsr       lq/KEY.png, gt/KEY.png, meta_info_SPLIT.txt: BasicSR's PairedImageDataset
    lmdb          lq.lmdb, gt.lmdb, each with its meta_info.txt: the same with its lmdb backend
    pairs         KEY_lq.png, KEY_gt.png in one folder
    imagefolder   lq/KEY.png, gt/KEY.png, metadata.jsonl with lq_file_name and gt_file_name: datasets' imagefolder
    parquet       SPLIT-00000-of-00001.parquet, two image columns and the facts: datasets, and any parquet reader
    webdataset    SPLIT-00000.tar: KEY.json, KEY.lq.png, KEY.gt.png
    diffsynth     lq/KEY.png, gt/KEY.png, metadata.jsonl with image, edit_image and prompt: DiffSynth-Studio
    musubi        lq/KEY.png, gt/KEY.png, metadata.jsonl with image_path, control_path and caption, SPLIT.toml:
                  musubi-tuner
    ai-toolkit    control/KEY.png, target/KEY.png, target/KEY.txt: ai-toolkit
    kohya         the same, and SPLIT.toml: sd-scripts
    diffusers     lq/KEY.png, gt/KEY.png, metadata.jsonl with input_image, edited_image and edit_prompt: diffusers'
                  train_instruct_pix2pix.py
    preference    data/preference-00000-of-00001.parquet with prompt, image, chosen, rejected: TRL and its like, of the
                  preference shards of a release (preferences.py)

Each file appears complete or not at all, and a file that is already right is not written again. So an export that was
killed, or that lost files, is continued by the same command. export.json records what the folder holds and of which
release; credits.csv records the author and licence of each pair. Where visual priors are exported, README.md keeps
`datasets` from loading them as train.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ggt_format
from ggt_format.images import check_image
from ggt_format.pairs import PairDataset
from ggt_format.preferences import PreferencePairs
from ggt_format.roots import Root
from ggt_format.schema import DEGRADATIONS, KEY, PREFERENCE, PRIOR, fact_columns
from ggt_tools.choices import EXPORTED_PROMPTS
from ggt_tools.errors import ConfigError, ShardError
from ggt_tools.files.outputs import check_output_folder
from ggt_tools.stages.export.conditions import parse_where, read_prompt_texts
from ggt_tools.stages.export.edit_formats import EDIT_FORMATS
from ggt_tools.stages.export.formats import (
    MULTI_PAIR_FILES,
    RELEASE_FORMATS,
    FinishedSizes,
    Row,
    Source,
    Writer,
    split_pattern,
    write_if_different,
)
from ggt_tools.stages.export.preferences import credit_rows, open_preferences, write_preferences
from ggt_tools.workspace.ledger import write_whole

__all__ = [
    "EDIT_FORMATS",
    "FORMATS",
    "PREFERENCE",
    "ExportConfig",
    "export",
    "parse_where",
    "plan_export",
    "read_prompt_texts",
]

FORMATS: dict[str, Writer] = dict(sorted((RELEASE_FORMATS | EDIT_FORMATS).items()))
RECORD = "export.json"
# A cell that begins so is a formula to a spreadsheet; it may skip white space before one (OWASP, CSV injection).
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """Which pairs are exported, and in which layout.

    Attributes:
        to: Name of the layout, one of `FORMATS`, or "preference".
        where: Conditions on the pairs, as `ggt100k.PairDataset` takes them; None for all pairs. With "preference"
            they are on the rejected candidates, as `ggt100k.PreferencePairs` takes them.
        splits: Splits to export; () for all that hold pairs, without the visual priors.
        file_bytes: Largest size of a tar or parquet file, counted in bytes of images.
        prompt: Which prompts the layouts of `EDIT_FORMATS` get: "own" for those that the GT images were made with,
            "fixed" for one text for each class, "none" for no texts.
        prompt_texts: By class of degradation: the fixed text. Classes that are not named keep the texts of the verb
            prompt.
        dry_run: Only tell what would be done.
    """

    to: str
    where: Mapping[str, Any] | None = None
    splits: tuple[str, ...] = ()
    file_bytes: int = 500_000_000
    prompt: str = "own"
    prompt_texts: Mapping[str, str] = field(default_factory=dict)
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.to not in FORMATS and self.to != PREFERENCE:
            raise ConfigError(
                f"--to {self.to}: is not a layout. Give one of {', '.join(sorted([*FORMATS, PREFERENCE]))}."
            )
        if self.to == PREFERENCE and self.splits:
            raise ConfigError(f"--to {self.to}: preference shards belong to no split. Leave --split out.")
        if self.file_bytes < 1:
            raise ConfigError(f"--file-bytes {self.file_bytes}: is not above 0. Give a number of bytes.")
        if self.prompt not in EXPORTED_PROMPTS:
            raise ConfigError(f"--prompt {self.prompt}: is not known. Give one of {', '.join(EXPORTED_PROMPTS)}.")
        if self.to not in EDIT_FORMATS and (self.prompt != "own" or self.prompt_texts):
            raise ConfigError(
                f"--to {self.to}: this layout has no captions. Leave the prompt options out, or give one of "
                f"{', '.join(EDIT_FORMATS)}."
            )
        if self.prompt_texts and self.prompt != "fixed":
            raise ConfigError(f"--prompt {self.prompt}: the given texts would not be used. Give --prompt fixed.")
        if unknown := [name for name in self.prompt_texts if name not in DEGRADATIONS]:
            raise ConfigError(
                f"--prompt-texts: {unknown[0]!r} is not a class of degradation. The classes are "
                f"{', '.join(DEGRADATIONS)}."
            )

    def prompt_of(self, facts: Mapping[str, Any]) -> str | None:
        """Return the text that is exported with a pair, given its facts; None for no text."""
        if self.to not in EDIT_FORMATS or self.prompt == "none":
            return None
        if self.prompt == "own":
            return str(facts["prompt"])
        degradation = str(facts["degradation"])
        if text := self.prompt_texts.get(degradation):
            return text
        from ggt_tools.stages.prompt import fixed_text  # it measures images too, and so imports much

        return fixed_text(degradation)


def export(
    root: str | Path, out: Path, config: ExportConfig, *, progress: Callable[[int], object] = lambda count: None
) -> dict[str, int]:
    """Write the selected pairs of a release to a folder.

    Args:
        root: Folder or fsspec URL of the release.
        out: New folder, or one that an interrupted run of the same export has begun.
        config: Which pairs, and in which layout.
        progress: Called with the number of pairs that were written since the last call.

    Returns:
        The number of pairs by split.

    Raises:
        ConfigError: No pair is selected, or `out` holds something else.
        ShardError: Bytes of the release are damaged. What was written before stays, and the next run continues there.
    """
    release = ggt_format.open_root(str(root))
    if config.to == PREFERENCE:
        return _export_preferences(release, out, config, progress)
    sources = plan_export(release, config)
    record = _record(release, config, {source.split: len(source.rows) for source in sources})
    if config.to in EDIT_FORMATS:
        record |= {"prompt": config.prompt, "prompt_texts": dict(config.prompt_texts)}
    finished_sizes = _begin(out, record)
    for source in sources:
        FORMATS[config.to](source, out, config.file_bytes, finished_sizes, progress)
    rows = [(source.split, row.facts) for source in sources for row in source.rows]
    write_if_different(out / "credits.csv", _credits(rows).encode())
    if any(source.split == PRIOR for source in sources):
        write_if_different(out / "README.md", _readme(config.to, [source.split for source in sources]).encode())
    _end(out, record)
    return dict(record["pairs"])


def _export_preferences(
    release: Root, out: Path, config: ExportConfig, progress: Callable[[int], object]
) -> dict[str, int]:
    """Write the preference pairs of a release to a folder, and return their number."""
    pairs: PreferencePairs = open_preferences(release, config.where)
    record = _record(release, config, {PREFERENCE: len(pairs)})
    write_preferences(pairs, out, config.file_bytes, _begin(out, record), progress)
    write_if_different(out / "credits.csv", _credits([(PREFERENCE, row) for row in credit_rows(pairs)]).encode())
    _end(out, record)
    return {PREFERENCE: len(pairs)}


def _record(release: Root, config: ExportConfig, pair_counts: Mapping[str, int]) -> dict[str, Any]:
    """Return what export.json holds of an export."""
    return {
        "to": config.to,
        "of": release.url,
        "identity": release.identity,
        "version": release.manifest["dataset_version"],
        "where": None if config.where is None else {name: _as_json(value) for name, value in config.where.items()},
        "file_bytes": config.file_bytes,
        "pairs": dict(pair_counts),
        "local_only": release.manifest.get("local_only", ""),
    }


def _end(out: Path, record: Mapping[str, Any]) -> None:
    """Note in export.json that the export is complete, with the sizes of the files of many pairs."""
    sizes = {
        path.relative_to(out).as_posix(): path.stat().st_size
        for pattern in MULTI_PAIR_FILES
        for path in sorted(out.glob(pattern))
    }
    write_if_different(out / RECORD, _encode({**record, "done": True, "files": sizes}))


def plan_export(root: Root, config: ExportConfig) -> list[Source]:
    """Return the pairs that are to be written, by split.

    Raises:
        ConfigError: No pair is selected.
        ShardError: The index holds a key that could not be the name of a file.
    """
    sources, empty = [], []
    for split in config.splits or root.manifest["splits"]:
        try:
            facts = [name for name in fact_columns(root.metrics) if name != "key"]
            pairs = PairDataset(
                root.url, split, where=config.where, columns=[*facts, "lq_size", "gt_size"], decode=False
            )
        except ConfigError as fault:
            empty.append(fault)
            continue
        sources.append(_source(root, split, pairs, config, facts))
    if empty and (not sources or config.splits):
        raise empty[0]
    return sources


def _source(root: Root, split: str, pairs: PairDataset, config: ExportConfig, facts: list[str]) -> Source:
    columns = ["key", *facts, "lq_size", "gt_size"]
    table = ggt_format.index(root.url, split, where=config.where, columns=columns)
    rows = [
        Row(
            facts={name: row[name] for name in columns[:-2]},
            sizes=(row["lq_size"], row["gt_size"]),
            prompt=config.prompt_of(row),
        )
        for row in table.to_pylist()
    ]
    suffix = ggt_format.CODECS[root.manifest["codec"]]
    for row in rows:
        if not KEY.fullmatch(str(row.key)):  # it becomes the name of a file, and the index comes from outside
            raise ShardError(
                f"{root.url}: {split}: {row.key!r} is not a key. Do not use this release. List all findings: "
                f"ggt100k validate {root.url}"
            )

    def read(number: int) -> tuple[bytes, bytes]:
        item = pairs[number]
        if item["key"] != rows[number].key:
            raise ShardError(f"{root.url}: {split}: the index has changed while it was read. Run the export again.")
        for name in ("lq", "gt"):
            check_image(item[name], f"{root.url}: {split}: key {item['key']}: {name}")
        return item["lq"], item["gt"]

    return Source(split=split, suffix=suffix, metrics=tuple(root.metrics), rows=rows, read=read)


def _begin(out: Path, record: Mapping[str, Any]) -> FinishedSizes:
    """Create the folder of an export, or check that it holds the same one.

    Returns:
        The sizes of its files, where this very export was finished in `out`; else None.
    """
    check_output_folder(out)
    if out.is_dir() and any(out.iterdir()):
        try:
            present = json.loads((out / RECORD).read_bytes())
        except (OSError, ValueError) as fault:
            raise ConfigError(f"{out}: holds other files. Name a new folder.") from fault
        is_done, sizes = False, None
        if isinstance(present, dict):
            is_done, sizes = present.pop("done", False), present.pop("files", None)
        if present != record:
            raise ConfigError(f"{out}: holds another export, or an export of another release. Name a new folder.")
        return sizes if is_done and isinstance(sizes, dict) else None
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / RECORD, _encode(record))
    return None


def _encode(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, indent=1) + "\n").encode()


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, list, set)) else value


def _readme(to: str, splits: list[str]) -> str:
    """Return a README that states for `datasets` which files are visual priors.

    Without it `datasets` takes files for train whose names contain no name of a split that it knows.
    """
    path = split_pattern(to, PRIOR)
    # priors get a config of their own: a metric that was measured on none of them has another type there
    configs = {"default": [split for split in splits if split != PRIOR], "prior": [PRIOR]}
    text = "---\nconfigs:\n"
    for name, config_splits in configs.items():
        files = [f"  - split: {split}\n    path: {split_pattern(to, split)}\n" for split in config_splits]
        text += f"- config_name: {name}\n  data_files:\n{''.join(files)}" if files else ""
    return (
        f"{text}---\n\n`{path}` holds visual priors, which are no ground truth. They load as a config of their own:\n"
        '`datasets.load_dataset("THIS FOLDER", "prior")`. A reader to which you name a format or a folder does not\n'
        "read this file, and may load them as `train`, which they are not: "
        f'give it `data_files={{"prior": "{path}"}}`.\n'
    )


def _credits(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Return a table of the author, licence and source of each photograph, with its split: licences ask for it."""
    file = io.StringIO(newline="")
    names = ("key", "licence", "author", "source", "source_name", "url", "restorer")
    table = csv.writer(file, lineterminator="\n")
    table.writerow(("split", *names))
    for split, facts in rows:
        cells = (split, *(str(facts[name]) for name in names))
        # these texts come from outside: none may be run as a formula
        table.writerow("'" + cell if cell[:1] in FORMULA_STARTS else cell for cell in cells)
    return file.getvalue()
