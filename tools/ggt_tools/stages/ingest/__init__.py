"""ingest: turn image files into the photographs of a dataset, each with its source and the licence to ship it under.

sources.py    a folder of photographs; what all sources have in common
archives.py   a tar or a zip of photographs
lists.py      a list of URLs, or the images of a dataset on the Hub
credits.py    what credits.csv or a list states of each photograph
crop.py       bring a photograph to size
panels.py     find pages whose background is a photograph
classes.py    name the class of a photograph: by the classifier, by measuring, by its folder
vlm.py        name it by a vision-language model
earlier.py    what earlier runs imported and rejected
flags.py      what optional checks find in photographs
hashes.py     the perceptual hashes of all that a photograph must not resemble
run.py        the stage: `run(workspace, IngestConfig(...))`
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from ggt_format.schema import DEGRADATIONS, SOURCES, Image, pair_key
from ggt_tools.choices import FITS
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.files.names import normalize_name
from ggt_tools.imaging import MAX_PIXELS, read_image
from ggt_tools.imaging.content_credentials import c2pa_flag
from ggt_tools.imaging.degradations import classify, measure
from ggt_tools.imaging.perceptual_hash import HashIndex, is_flat, is_screenshot, phash, phash_of_whole
from ggt_tools.records import Conversion, Flag, PerceptualHash, Photo, Refusal
from ggt_tools.stages.ingest.crop import fit_with_frame
from ggt_tools.stages.ingest.panels import is_page_over_photograph
from ggt_tools.stages.ingest.sources import SourceFile, map_in_order, no_licence

ClassNames = tuple[str, tuple[str, ...]]  # the class of a photograph, and all degradations that are seen in it
Classify = Callable[[Image], ClassNames]


class ImportedPhoto(NamedTuple):
    """A photograph that is imported.

    Attributes:
        photo: Its facts; `Photo.image` is "" until its pixels are stored.
        seen: Its perceptual hash.
        pixels: uint8 RGB (height, width, 3).
        conversion: What was changed on the way from the file to the pixels.
        credentials: Whether its file carries Content Credentials.
        replaces: Keys of smaller near duplicates that were imported before, and that it replaces.
    """

    photo: Photo
    seen: PerceptualHash
    pixels: Image
    conversion: Conversion
    credentials: Flag
    replaces: tuple[str, ...] = ()


def classify_by_measuring(pixels: Image) -> ClassNames:
    """Return the class of a photograph and all degradations that are measured in it, without a model."""
    return classify(measure(pixels))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PhotoOptions:
    """How files become photographs.

    Attributes:
        licence: Licence of the files whose credit states none; "" to reject these.
        source: Kind of source, one of `ggt_format.SOURCES`, of the files whose credit states none.
        source_name: Name of the source, of the files whose credit states none.
        min_side: Pixels that the shorter side of a file must have.
        max_side: Pixels that a side of a photograph may have.
        max_pixels: Pixels of a file; a file with more is rejected before it is decoded.
        fit: How a photograph comes to `max_side`; see `crop.fit`.
        classify: Names the class and all degradations that are seen, where neither credit nor folder names a class.
        threads: Number of threads that decode ahead.
    """

    licence: str = ""
    source: str = "captured"
    source_name: str = ""
    min_side: int = 512
    max_side: int = 1024
    max_pixels: int = MAX_PIXELS
    fit: str = "crop"
    classify: Classify = classify_by_measuring
    threads: int = 4

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise ConfigError(f"source: {self.source!r} is not known. Choose one of: {', '.join(SOURCES)}.")
        if self.fit not in FITS:
            raise ConfigError(f"fit: {self.fit!r} is not known. Choose one of: {', '.join(FITS)}.")
        if not 1 <= self.min_side <= self.max_side:
            raise ConfigError(
                f"min_side: {self.min_side} is not between 1 and max_side, {self.max_side}. Choose a smaller one."
            )


def classify_by_folder(pixels: Image) -> ClassNames:
    """Reject a photograph whose class neither its credit nor its folder names.

    Raises:
        PairError: `no_class`, always.
    """
    raise PairError(
        "no_class",
        "neither a credit nor the folder's name states the class. Name the folder after a degradation, or classify the "
        "photographs: --classes measured.",
    )


def is_imported(file: SourceFile, names: Mapping[str, str]) -> bool:
    """Return whether this very file was imported before: the same bytes under the same name.

    Args:
        file: The file.
        names: Name of each imported file by the SHA-256 of its bytes.
    """
    return bool(file.data) and normalize_name(names.get(hashlib.sha256(file.data).hexdigest(), "")) == normalize_name(
        file.name
    )


def ingest(files: Iterable[SourceFile], options: PhotoOptions, hashes: HashIndex) -> Iterator[ImportedPhoto | Refusal]:
    """Turn each file into a photograph, or say why it is rejected. Some are decoded ahead; they come in their order.

    Args:
        files: The files of a source.
        options: How they become photographs.
        hashes: All photographs that a new one must not resemble. A near duplicate is rejected, unless it is larger than
            a replaceable one: then it replaces that. Each photograph that is imported is added.

    Yields:
        A photograph, or a Refusal with the reason code.
    """
    for result in map_in_order(lambda file: _import(file, options), files, options.threads):
        if isinstance(result, Refusal):
            yield result
            continue
        photo = result.photo
        file_pixels = result.conversion.width * result.conversion.height
        try:
            replaces = hashes.check(result.seen, photo.file, pixels=file_pixels, whole=result.conversion.phash)
        except PairError as error:
            yield Refusal(file=photo.file, reason=error.reason, detail=str(error))
            continue
        hashes.remove(replaces)
        hashes.add(result.seen, photo.file, pixels=file_pixels, whole=result.conversion.phash, is_replaceable=True)
        yield result._replace(replaces=replaces)


def _import(file: SourceFile, options: PhotoOptions) -> ImportedPhoto | Refusal:
    name, credit = file.name, file.credit
    try:
        if file.fault is not None and file.fault.reason == "bad_name":
            raise file.fault
        licence = credit.licence.strip() or options.licence.strip()
        if not licence:
            raise no_licence(name)
        if file.fault is not None:
            raise file.fault
        decoded = read_image(file.data, name, options.max_pixels)
        if is_page_over_photograph(np.asarray(decoded.image)):  # before resampling, which softens the edges of panels
            raise PairError(
                "screenshot", f"{name}: this is a page with panels or buttons over a photograph. Leave it out."
            )
        pixels, frame = fit_with_frame(
            decoded.image,
            name,
            options.fit,
            min_side=options.min_side,
            max_side=options.max_side,
            max_pixels=options.max_pixels,
        )
        _check_is_photograph(pixels, name)
        degradation, degradations = _classify(pixels, file, options)
    except PairError as error:
        return Refusal(file=name, reason=error.reason, detail=str(error))
    photo = Photo(
        key=pair_key(pixels),
        image="",
        width=pixels.shape[1],
        height=pixels.shape[0],
        degradation=degradation,
        degradations=(degradation, *(other for other in degradations if other != degradation)),
        source=credit.source or options.source,
        source_name=credit.source_name or options.source_name,
        licence=licence,
        author=credit.author,
        url=credit.url,
        file=name,
        original=hashlib.sha256(file.data).hexdigest(),
    )
    width, height = decoded.image.size
    is_window = frame[:2] != frame[4:]
    conversion = Conversion(
        key=photo.key,
        candidate="",
        width=width,
        height=height,
        frame=frame,
        changes=decoded.changes,
        phash=phash_of_whole(decoded.image) if is_window else "",
    )
    seen = PerceptualHash(key=photo.key, phash=phash(pixels), split="")
    return ImportedPhoto(photo, seen, pixels, conversion, c2pa_flag(photo.key, "", file.data))


def _classify(pixels: Image, file: SourceFile, options: PhotoOptions) -> ClassNames:
    """Return the class, and all degradations that are seen. Where the class is stated, only the others are measured."""
    stated = file.credit.degradation or (file.folder if file.folder in DEGRADATIONS else "")
    try:
        degradation, degradations = (classify_by_measuring if stated else options.classify)(pixels)
    except PairError as error:
        raise PairError(error.reason, f"{file.name}: {error}") from error
    return stated or degradation, degradations


def _check_is_photograph(pixels: Image, name: str) -> None:
    if is_flat(pixels):
        raise PairError("too_flat", f"{name}: the image shows almost nothing. Leave it out.")
    if is_screenshot(pixels):
        raise PairError("screenshot", f"{name}: a computer drew this: a page, a chart or a window. Leave it out.")
