"""ingest: files in, photographs out, each with where it comes from and under which licence it may be shipped."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from ggt100k import DEGRADATIONS, SOURCES, pair_key
from ggt_tools.degradations import classify, measure
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.records import Photo, Refusal

_log = logging.getLogger(__name__)
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")  # whatever the suffix: no other decoder is let near a stranger's file
CREDITS = "credits.csv"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IngestConfig:
    """`licence`, `source` and `source_name` hold for the files that credits.csv says nothing of."""

    licence: str = ""
    source: str = "captured"
    source_name: str = ""
    least: int = 512  # pixels of the short side
    most: int = 1024  # pixels of a side; the centre of a larger photograph is kept

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise ConfigError(f"--source {self.source}: is none of {', '.join(SOURCES)}")
        if not 1 <= self.least <= self.most:
            raise ConfigError(f"the least side, {self.least}, is not between 1 and the most, {self.most}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """What credits.csv says of one file; "" where it says nothing."""

    licence: str = ""
    author: str = ""
    url: str = ""
    source: str = ""
    source_name: str = ""
    degradation: str = ""


def read_credits(folder: Path) -> dict[str, Credit]:
    """`credits.csv` of a folder, by file name: columns `file` and any of Credit's. {} where there is none.

    Raises ConfigError, with the line, where it says what cannot be.
    """
    path = folder / CREDITS
    if not path.exists():
        return {}
    names = [field.name for field in dataclasses.fields(Credit)]
    credits: dict[str, Credit] = {}
    try:
        # spreadsheets put a byte order mark first, which utf-8-sig takes away
        rows = csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True)
        odd = [name for name in rows.fieldnames or () if name not in ("file", "title", *names)]
        if odd or "file" not in (rows.fieldnames or ()):
            known = ", ".join(("file", "title", *names))
            said = f"no column {odd[0]!r} is known" if odd else "the column 'file' is missing"
            raise ConfigError(f"{path}: {said}; the first line names columns, with commas between, of {known}")
        for row in rows:
            where = f"{path}: line {rows.line_num}"
            if None in row:
                raise ConfigError(f"{where}: has more fields than the first line; quote one with commas")
            credit = Credit(**{name: (row.get(name) or "").strip() for name in names})
            file = row.get("file")
            if not file:
                raise ConfigError(f"{where}: the column 'file' is empty; name the file there")
            if file in credits:
                raise ConfigError(f"{where}: {file!r} stands there twice; leave one line of it")
            if credit.degradation and credit.degradation not in DEGRADATIONS:
                raise ConfigError(f"{where}: degradation {credit.degradation!r} is none of {', '.join(DEGRADATIONS)}")
            if credit.source and credit.source not in SOURCES:
                raise ConfigError(f"{where}: source {credit.source!r} is none of {', '.join(SOURCES)}")
            if not (folder / file).is_file():
                _log.warning("%s: names %r, which is not in the folder", where, file)
            credits[file] = credit
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise ConfigError(f"{path}: cannot be read: {fault}; save it as CSV in UTF-8") from fault
    return credits


def find_photos(folder: Path) -> list[Path]:
    """Every image file below a folder, in the order of their names. Raises ConfigError where there is none."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise ConfigError(f"{folder}: no photograph in it; ingest reads {', '.join(SUFFIXES)}")
    return files


def known(path: Path, name: str, photos: Mapping[str, str]) -> bool:
    """Whether this very file is in already: `photos` gives the name by the digest of each photograph's file."""
    try:
        return photos.get(hashlib.sha256(path.read_bytes()).hexdigest()) == name
    except OSError:
        return False  # ingest says why


def ingest(
    files: Iterable[Path], config: IngestConfig, *, root: Path, credits: dict[str, Credit]
) -> Iterator[tuple[Photo, npt.NDArray[np.uint8]] | Refusal]:
    """Each file as a photograph with its pixels (uint8, height x width x 3), or the reason why not.

    `Photo.image` is "" still: who stores the pixels names them.
    """
    for path in files:
        name = path.relative_to(root).as_posix()
        credit = credits.get(name, Credit())
        try:
            name.encode()
            licence = credit.licence or config.licence
            if not licence:
                raise PairError("no_licence", f"{name}: no licence is known; add it to {CREDITS}, or give --licence")
            try:
                data = path.read_bytes()
            except OSError as fault:
                raise PairError("unreadable", f"{name}: {fault.strerror}; mend that and ingest again") from fault
            pixels = _crop(_open(data, name), name, config)
            measured, seen = classify(measure(pixels))
        except UnicodeEncodeError:
            name = ascii(name)[1:-1]
            yield Refusal(file=name, reason="bad_name", detail=f"{name}: has bytes that are no text; rename it")
            continue
        except PairError as fault:
            yield Refusal(file=name, reason=fault.reason, detail=str(fault))
            continue
        folder = path.parent.name if path.parent.name in DEGRADATIONS else ""
        degradation = credit.degradation or folder or measured
        photo = Photo(
            key=pair_key(pixels),
            image="",
            width=pixels.shape[1],
            height=pixels.shape[0],
            degradation=degradation,
            degradations=(degradation, *(other for other in seen if other != degradation)),
            source=credit.source or config.source,
            source_name=credit.source_name or config.source_name,
            licence=licence,
            author=credit.author,
            url=credit.url,
            file=name,
            original=hashlib.sha256(data).hexdigest(),
        )
        yield photo, pixels


def _open(data: bytes, name: str) -> Image.Image:
    """The photograph upright and in sRGB, or a PairError: nothing is guessed."""
    try:
        file = Image.open(io.BytesIO(data), formats=FORMATS)
        odd = file.mode if file.mode not in ("RGB", "L") else ""
        if any(";16" in str(tile) for tile in file.tile):  # Pillow would cut 16 bits to 8 in silence
            odd = "16-bit"
        elif "transparency" in file.info:
            odd = f"{file.mode} with transparency"
        if odd:
            raise PairError("unsupported_mode", f"{name}: its pixels are {odd}; save it as 8-bit RGB or grey")
        file.load()
        profile = file.info.get("icc_profile")
        image = ImageOps.exif_transpose(file)
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else None
        if source and source.profile.xcolor_space.strip() == {"RGB": "RGB", "L": "GRAY"}[image.mode]:
            image = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB") or image
    except Image.DecompressionBombError as fault:
        raise PairError("too_large", f"{name}: {fault}; crop it first") from fault
    except UnidentifiedImageError as fault:
        raise PairError("not_an_image", f"{name}: is none of {', '.join(FORMATS)}; fetch it again") from fault
    except PairError:
        raise
    except Exception as fault:  # a decoder raises anything over a stranger's bytes: struct.error over a bad EXIF, say
        raise PairError("not_an_image", f"{name}: cannot be decoded: {fault}; fetch it again") from fault
    return image.convert("RGB")


def _crop(image: Image.Image, name: str, config: IngestConfig) -> npt.NDArray[np.uint8]:
    width, height = image.size
    if min(width, height) < config.least:
        raise PairError("too_small", f"{name}: {width} x {height}; the short side must have {config.least} pixels")
    left, top = max(0, (width - config.most) // 2), max(0, (height - config.most) // 2)
    return np.asarray(image.crop((left, top, min(width, left + config.most), min(height, top + config.most))))
