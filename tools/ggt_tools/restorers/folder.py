"""Results that were made elsewhere: files in a folder, each for one photograph.

--with folder:RESULTS. A result belongs to the photograph that manifest.csv or manifest.jsonl names for it (columns
`key` or `file`, and `result`), else to the one that has its name: the photograph's key, or its file's name without the
ending, with its folders or without. What else the folder holds is passed over, and logged as a warning. Options: path
(the folder), model (what made them; default: the folder's name). A file that is exchanged for another after it was
taken is not noticed: use another name for the model then.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import ggt_format
from ggt_tools.errors import ConfigError
from ggt_tools.files.folders import ImageFiles, find_images, read_file
from ggt_tools.files.names import NameIndex, compared, shorten
from ggt_tools.files.texts import decode_text, read_bytes
from ggt_tools.restorers.protocol import Image, Restored, Setting, options

_log = logging.getLogger(__name__)
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp")  # what align reads
MANIFESTS = ("manifest.csv", "manifest.jsonl")
MOST = 50 * 1024 * 1024  # bytes of a result


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A Restorer. `results`: files by key, by name with folders, and by name alone; `names`: the photographs'."""

    model: str
    results: Mapping[str, Path] = field(repr=False)
    names: Mapping[str, str] = field(repr=False)
    name: str = "folder"
    version: str = "1"
    remote: bool = False
    square: bool = False
    prompted: bool = False

    def restore(self, image: Image, prompt: str, *, seed: int) -> Restored:
        """As Restorer.restore(): the file as it is. Without one, the reason is no_result."""
        key = ggt_format.pair_key(image)
        path = self.results.get(key)
        if path is None:
            return Restored(reason="no_result", detail=f"no result is for {self.names.get(key, key)}")
        return Restored(data=read_file(path, str(path), max_bytes=MOST))


def folder(setting: Setting) -> Folder:
    """ConfigError: there is no such folder, a photograph has two results, or a result two photographs."""
    chosen = options("folder", setting, path=setting.model, model="")
    root = Path(chosen["path"])
    if not chosen["path"] or not root.is_dir():
        raise ConfigError(f"folder: {chosen['path']!r} is no folder; name the results' one: --with folder:RESULTS")
    manifest = next((root / name for name in MANIFESTS if (root / name).is_file()), None)
    found = find_images(root, suffixes=SUFFIXES, besides=MANIFESTS)
    claims = list(_listed(root, manifest, setting.names) if manifest else _named(root, found.paths, setting.names))
    if multiprocessing.parent_process() is None:  # the processes of an engine open the same folder again
        _tell(root, found, {path.resolve() for _, path in claims} if setting.names else None)
    return Folder(model=chosen["model"] or root.resolve().name, results=_single(claims), names=setting.names)


def _tell(root: Path, found: ImageFiles, claimed: Collection[Path] | None) -> None:
    """Log what of the folder is not used."""
    for fault in found.faults:
        _log.warning("%s", fault)
    if str(found.passed_over):
        _log.warning("%s: passed over: %s", root, found.passed_over)
    if claimed is None:
        return
    left = [path.relative_to(root).as_posix() for path in found.paths if path.resolve() not in claimed]
    if left:
        said = "%s: %d results belong to no photograph of the workspace: %s"
        _log.warning(said, root, len(left), shorten(left))


def _single(claims: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    results: dict[str, Path] = {}
    for key, path in claims:
        if results.setdefault(key, path) != path:
            raise ConfigError(f"folder: key {key}: has two results, {results[key]} and {path}; take one of them away")
    return results


def _named(root: Path, files: Sequence[Path], names: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """Each photograph's key with the result of its name: with its folders where there is one, else without.

    A result whose name is the same but for its Unicode form counts where no other photograph has the very name.
    """
    whole: dict[str, list[Path]] = defaultdict(list)
    stems: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        if not path.resolve().is_relative_to(root.resolve()):
            raise ConfigError(f"{path}: lies outside the folder; copy it there")
        whole[path.relative_to(root).with_suffix("").as_posix()].append(path)
        stems[path.stem].append(path)
    by_form: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        for name in {compared(path.relative_to(root).with_suffix("").as_posix()), f"*/{compared(path.stem)}"}:
            by_form[name].append(path)

    def exact(name: str) -> str:
        return PurePosixPath(name).with_suffix("").as_posix()

    ways: tuple[tuple[Callable[[str, str], list[Path]], bool], ...] = (
        (lambda key, name: stems.get(key) or whole.get(exact(name), []), False),
        (lambda key, name: by_form.get(compared(exact(name)), []), True),
        (lambda key, name: stems.get(PurePosixPath(name).stem, []), False),
        (lambda key, name: by_form.get(f"*/{compared(PurePosixPath(name).stem)}", []), True),
    )
    claims: dict[str, list[Path]] = {}
    for way, is_left in ways:
        claimed = {path for paths in claims.values() for path in paths} if is_left else set()
        for key, name in names.items():
            if key not in claims and (paths := [path for path in way(key, name) if path not in claimed]):
                claims[key] = paths
    taken: dict[Path, str] = {}
    for key, name in names.items():
        for path in claims.get(key, ()):
            if taken.setdefault(path, key) != key:
                raise ConfigError(
                    f"{path}: may belong to {names[taken[path]]} and to {name}; name it as the one with its folders is "
                    f"named, or write {MANIFESTS[0]}"
                )
            yield key, path
    for stem, paths in stems.items():  # keys of photographs whose names are not known
        if stem not in names and len(stem) == 16:
            yield from ((stem, path) for path in paths)


def _listed(root: Path, manifest: Path, names: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    keys: dict[str, list[str]] = defaultdict(list)
    for key, name in names.items():
        keys[name].append(key)
    photographs = NameIndex(keys)
    files: NameIndex | None = None
    for number, row in _rows(manifest):
        where = f"{manifest}: line {number}"
        result = row.get("result")
        if not result or not (row.get("key") or row.get("file")):
            raise ConfigError(f"{where}: wants 'result', and 'key' or 'file'; write them there")
        path = (root / result).resolve()
        if not path.is_relative_to(root.resolve()):
            raise ConfigError(f"{where}: result {result!r} lies outside the folder; copy it there")
        if not path.is_file():
            files = files or NameIndex(file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file())
            if (file := files.find(result)) is None:
                raise ConfigError(f"{where}: result {result!r} is no file; mend its name")
            path = (root / file).resolve()
            if not path.is_relative_to(root.resolve()):
                raise ConfigError(f"{where}: result {result!r} lies outside the folder; copy it there")
        for key in [row["key"]] if row.get("key") else keys.get(photographs.find(row["file"]) or "", []):
            yield key, path


def _rows(manifest: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    try:
        text = decode_text(read_bytes(manifest))
        if manifest.suffix == ".csv":
            rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
            yield from ((rows.line_num, row) for row in rows)
            return
        for number, line in enumerate(text.split("\n"), 1):  # JSON may have U+2028 as it is
            if not line.strip():
                continue
            row = json.loads(line)
            if not isinstance(row, dict) or not all(isinstance(value, str) for value in row.values()):
                raise ConfigError(f"{manifest}: line {number}: is no JSON object of texts; mend it")
            yield number, row
    except (OSError, ValueError, RecursionError, csv.Error) as fault:
        raise ConfigError(f"{manifest}: cannot be read: {fault}; save it as CSV or JSON lines in UTF-8") from fault
