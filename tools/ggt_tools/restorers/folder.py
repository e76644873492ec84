"""Results of another program: files in a folder, each for one photograph.

--with folder:RESULTS. manifest.csv or manifest.jsonl may name the photograph of each result (columns `key` or `file`,
and `result`). Without a manifest, a result belongs to the photograph of the same name: the photograph's key, or the
name of its file without suffix, with or without folders. Other files in the folder are ignored, with a warning in the
log. Options: path (the folder), model (the model that produced the results; default: the folder's name).

A result may show the photograph as it is in the workspace. If `ingest --fit crop` or `--fit resize` took a window of a
file, a result may also show the whole image of that file. The aspect ratio decides which of the two it shows,
and align crops the whole image to the window. If you replace a file after it was imported, use another name for the
model, because the change is not detected.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath

from PIL import Image

import ggt_format
from ggt_format.schema import Image as Pixels
from ggt_tools.errors import ConfigError
from ggt_tools.files.folders import ImageFiles, find_images, read_file
from ggt_tools.files.names import NameIndex, normalize_name, shorten
from ggt_tools.files.texts import decode_text, read_bytes
from ggt_tools.imaging.containers import read_metadata
from ggt_tools.imaging.tiff_tags import read_camera_tags
from ggt_tools.providers.protocol import Restored, Setting, read_options
from ggt_tools.records import Photo

_log = logging.getLogger(__name__)
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp")  # formats that align reads
MANIFESTS = ("manifest.csv", "manifest.jsonl")
MAX_BYTES = 50 * 1024 * 1024  # maximum size of a result
FORMATS = ("PNG", "JPEG", "WEBP")
RATIO = 0.02  # tolerance of the aspect ratio, because models round sides to multiples
SMALL_SCALE = 0.9  # a result with a smaller scale than this is reported as small


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """The restorer.

    Attributes:
        model: Name of the model that produced the results.
        results: The file of each result, by key.
        names: The file that each photograph was imported from, by key.
        frames: Conversion.frame of each photograph where it is known, by key.
    """

    model: str
    results: Mapping[str, Path] = field(repr=False)
    names: Mapping[str, str] = field(repr=False)
    frames: Mapping[str, tuple[int, ...]] = field(default_factory=dict, repr=False)
    name: str = "folder"
    version: str = "1"
    is_remote: bool = False
    needs_square: bool = False
    takes_prompt: bool = False

    def restore(self, image: Pixels, prompt: str, *, seed: int) -> Restored:
        """Return the file of the result unchanged; without one, the reason is `no_result`."""
        key = ggt_format.pair_key(image)
        path = self.results.get(key)
        if path is None:
            return Restored(reason="no_result", detail=f"the folder has no result for {self.names.get(key, key)}")
        return Restored(data=read_file(path, str(path), max_bytes=MAX_BYTES))

    def frame(self, photo: Photo) -> tuple[int, ...]:
        """See FramingRestorer.frame(): the aspect ratio decides, or the name of the result if it fits both."""
        path, frame = self.results.get(photo.key), self.frames.get(photo.key, ())
        if path is None or not frame or frame[:2] == frame[4:]:
            return ()
        shown, is_like_both = _shown(path, photo, frame)
        return frame if shown == "whole" or (is_like_both and path.stem != photo.key) else ()

    def frame_notes(self, photos: Iterable[Photo]) -> list[str]:
        """See FramingRestorer.frame_notes(): how many results show whole files, are small, or fit neither."""
        whole, small, neither, unknown, total = 0, 0, 0, 0, 0
        for photo in photos:
            if (path := self.results.get(photo.key)) is None:
                continue
            total += 1
            size, frame = _upright_size(path), self.frame(photo)
            if size is not None and not _is_like(size, photo, frame):
                neither += 1
                unknown += photo.key not in self.frames
            elif size is not None and frame:
                whole += 1
                small += size[0] < SMALL_SCALE * frame[0]
        notes = []
        if whole:
            notes.append(
                f"{whole} of {total} results show the whole image of a file of which ingest took a window. align crops "
                "them to that window"
            )
        if small:
            notes.append(
                f"{small} of these are smaller than that image, so that their windows must be enlarged. To use all of "
                "their pixels, ingest the photographs into a new workspace: ggt100k ingest --fit pad"
            )
        if neither:
            why = " (an older version ingested some without recording the window)" if unknown else ""
            notes.append(
                f"{neither} of {total} results have the aspect ratio of neither their photograph nor its file{why}. "
                "align will reject most of them. If they show whole files, ingest these into a new workspace: "
                "ggt100k ingest --fit pad"
            )
        return [f"{self.model}: {note}." for note in notes]


def _ratio_difference(size: tuple[int, int], width: int, height: int) -> float:
    """Return the difference of two aspect ratios as a natural logarithm."""
    return abs(math.log(size[0] * height / (size[1] * width)))


def _is_like(size: tuple[int, int], photo: Photo, frame: tuple[int, ...]) -> bool:
    width, height = frame[:2] if frame else (photo.width, photo.height)
    return _ratio_difference(size, width, height) <= RATIO


def _shown(path: Path, photo: Photo, frame: tuple[int, ...]) -> tuple[str, bool]:
    """Return whether a result shows the "whole" image or the "window", and whether its aspect ratio fits both."""
    size = _upright_size(path)
    if size is None:  # restore() reports what is wrong with it
        return "window", False
    window, whole = _ratio_difference(size, photo.width, photo.height), _ratio_difference(size, frame[0], frame[1])
    is_like_both = max(window, whole) <= RATIO and abs(window - whole) <= RATIO / 2
    return "whole" if whole < window and not is_like_both else "window", is_like_both


@lru_cache(1 << 20)
def _upright_size(path: Path) -> tuple[int, int] | None:
    """Return width and height of a result after its orientation is applied; None if it is not an image."""
    try:
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            size, exif = image.size, image.info.get("exif", b"")
        orientation = read_camera_tags(exif.removeprefix(b"Exif\0\0")).orientation
    except Exception:  # metadata that the decoder rejects, or not an image
        try:
            metadata = read_metadata(path.read_bytes())
            with Image.open(io.BytesIO(metadata.pixels), formats=FORMATS) as image:
                size, orientation = image.size, metadata.orientation
        except Exception:
            return None
    return (size[1], size[0]) if orientation >= 5 else size


def folder(setting: Setting) -> Folder:
    """Return the restorer.

    Raises:
        ConfigError: The folder does not exist, a photograph has two results, or a result has two photographs.
    """
    chosen = read_options("folder", setting, path=setting.model, model="")
    root = Path(chosen["path"])
    if not chosen["path"] or not root.is_dir():
        raise ConfigError(
            f"folder: {chosen['path']!r} is not a folder. Name the folder with the results: --with folder:RESULTS"
        )
    manifest = next((root / name for name in MANIFESTS if (root / name).is_file()), None)
    images = find_images(root, suffixes=SUFFIXES, besides=MANIFESTS)
    claims = list(_listed(root, manifest, setting.names) if manifest else _named(root, images.paths, setting.names))
    if (
        multiprocessing.parent_process() is None
    ):  # only the main process warns; worker processes open the same folder again
        _log_unused(root, images, {path.resolve() for _, path in claims} if setting.names else None)
    return Folder(
        model=chosen["model"] or root.resolve().name,
        results=_single(claims),
        names=setting.names,
        frames=setting.frames,
    )


def _log_unused(root: Path, images: ImageFiles, claimed: Collection[Path] | None) -> None:
    """Log which files of the folder are not used."""
    for fault in images.faults:
        _log.warning("%s", fault)
    if str(images.passed_over):
        _log.warning("%s: ignored: %s", root, images.passed_over)
    if claimed is None:
        return
    unused = [path.relative_to(root).as_posix() for path in images.paths if path.resolve() not in claimed]
    if unused:
        message = "%s: %d results belong to no photograph of the workspace: %s"
        _log.warning(message, root, len(unused), shorten(unused))


def _single(claims: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    results: dict[str, Path] = {}
    for key, path in claims:
        if results.setdefault(key, path) != path:
            raise ConfigError(f"folder: key {key}: has two results, {results[key]} and {path}. Remove one of them.")
    return results


def _named(root: Path, files: Sequence[Path], names: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """Yield the key of each photograph and the result of the same name, first with folders, then without.

    A name in another Unicode form matches if no other photograph has exactly that name.
    """
    whole: dict[str, list[Path]] = defaultdict(list)
    stems: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        if not path.resolve().is_relative_to(root.resolve()):
            raise ConfigError(f"{path}: is outside the folder. Copy it into the folder.")
        whole[path.relative_to(root).with_suffix("").as_posix()].append(path)
        stems[path.stem].append(path)
    by_form: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        for name in {
            normalize_name(path.relative_to(root).with_suffix("").as_posix()),
            f"*/{normalize_name(path.stem)}",
        }:
            by_form[name].append(path)

    def exact(name: str) -> str:
        return PurePosixPath(name).with_suffix("").as_posix()

    ways: tuple[tuple[Callable[[str, str], list[Path]], bool], ...] = (
        (lambda key, name: stems.get(key) or whole.get(exact(name), []), False),
        (lambda key, name: by_form.get(normalize_name(exact(name)), []), True),
        (lambda key, name: stems.get(PurePosixPath(name).stem, []), False),
        (lambda key, name: by_form.get(f"*/{normalize_name(PurePosixPath(name).stem)}", []), True),
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
                    f"{path}: its name fits {names[taken[path]]} and {name}. Put it into a folder of the same name as "
                    f"that of the photograph, or list it in {MANIFESTS[0]}."
                )
            yield key, path
    for stem, paths in stems.items():  # results that are named by the key of a photograph without a recorded name
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
            raise ConfigError(f"{where}: the columns result, and key or file, must have values. Add them.")
        path = (root / result).resolve()
        if not path.is_relative_to(root.resolve()):
            raise ConfigError(f"{where}: result {result!r} is outside the folder. Copy it into the folder.")
        if not path.is_file():
            files = files or NameIndex(file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file())
            if (file := files.find(result)) is None:
                raise ConfigError(f"{where}: result {result!r} is not a file. Correct its name.")
            path = (root / file).resolve()
            if not path.is_relative_to(root.resolve()):
                raise ConfigError(f"{where}: result {result!r} is outside the folder. Copy it into the folder.")
        for key in [row["key"]] if row.get("key") else keys.get(photographs.find(row["file"]) or "", []):
            yield key, path


def _rows(manifest: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    try:
        text = decode_text(read_bytes(manifest))
        if manifest.suffix == ".csv":
            rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
            yield from ((rows.line_num, row) for row in rows)
            return
        for number, line in enumerate(
            text.split("\n"), 1
        ):  # splitlines() would split at U+2028, which JSON may contain
            if not line.strip():
                continue
            row = json.loads(line)
            if not isinstance(row, dict) or not all(isinstance(value, str) for value in row.values()):
                raise ConfigError(
                    f"{manifest}: line {number}: is not a JSON object with strings as values. Correct the line."
                )
            yield number, row
    except (OSError, ValueError, RecursionError, csv.Error) as fault:
        raise ConfigError(f"{manifest}: cannot be read: {fault}. Save it as CSV or JSON lines in UTF-8.") from fault
