"""ingest: files in, photographs out, each with where it comes from and under which licence it may be shipped."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from ggt_format.schema import DEGRADATIONS, SOURCES, pair_key
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.files.names import compared
from ggt_tools.imaging import FORMATS as FORMATS
from ggt_tools.imaging import read_image
from ggt_tools.imaging.degradations import classify, measure, opencv
from ggt_tools.imaging.perceptual_hash import Looks, is_flat, is_screenshot, phash
from ggt_tools.records import Conversion, Photo, Refusal, Seen
from ggt_tools.stages.ingest.panels import is_page_over_photograph
from ggt_tools.stages.ingest.sources import Found, in_order, no_licence

Pixels = npt.NDArray[np.uint8]
Classes = Callable[[Pixels], tuple[str, tuple[str, ...]]]


class Taken(NamedTuple):
    """A photograph that is taken in: its facts, its pixels, and the keys of smaller ones that it stands in for."""

    photo: Photo
    seen: Seen
    pixels: Pixels
    conversion: Conversion
    replaces: tuple[str, ...] = ()


MOST_PIXELS = 89_478_485  # of a file: above it, it is refused before it is decoded
FITS = ("crop", "resize", "pad")
STEP = 16  # pixels between two places that a window may have


def measured(pixels: Pixels) -> tuple[str, tuple[str, ...]]:
    """The class of a photograph and all that is seen in it, without a model."""
    return classify(measure(pixels))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IngestConfig:
    """`licence`, `source` and `source_name` hold for the files that no credit says anything of.

    fit: how a photograph comes to `most` pixels a side. `crop`: no resampling, the window with most detail; a side that
    is shorter stays. `resize`: resampled (Lanczos, to less or to more) so that the shorter side is `most`, then the
    window. `pad`: resampled so that the longer side is `most`, nothing is cut; who restores pads for the model's call.
    classify: names the class (one of DEGRADATIONS) and all that is seen, where neither credit nor folder names one.
    """

    licence: str = ""
    source: str = "captured"
    source_name: str = ""
    least: int = 512  # pixels of the short side, as the file has it
    most: int = 1024  # pixels of a side
    most_pixels: int = MOST_PIXELS
    fit: str = "crop"
    classify: Classes = measured
    threads: int = 4  # that decode ahead

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise ConfigError(f"--source {self.source}: is none of {', '.join(SOURCES)}")
        if self.fit not in FITS:
            raise ConfigError(f"--fit {self.fit}: is none of {', '.join(FITS)}")
        if not 1 <= self.least <= self.most:
            raise ConfigError(f"the least side, {self.least}, is not between 1 and the most, {self.most}")


def by_folder(pixels: Pixels) -> tuple[str, tuple[str, ...]]:
    """Refuses what neither credit nor folder names the class of."""
    raise PairError(
        "no_class", "its folder's name is no degradation, and no credit names one; give it one, or --classes measured"
    )


def known(found: Found, photos: Mapping[str, str]) -> bool:
    """Whether this very file is in already: `photos` gives the name by the digest of each photograph's file."""
    return bool(found.data) and compared(photos.get(hashlib.sha256(found.data).hexdigest(), "")) == compared(found.name)


def ingest(found: Iterable[Found], config: IngestConfig, looks: Looks) -> Iterator[Taken | Refusal]:
    """Each file as a photograph with its looks and pixels (uint8, height x width x 3), or the reason why not.

    What `looks` knows already is refused, but where it is larger than what is known and replaces it; what is taken is
    added to `looks`. `Photo.image` is "" still: who stores the
    pixels names them. Some are decoded ahead, in threads; they come in their order.
    """
    for one in in_order(lambda each: _take(each, config), found, config.threads):
        if not isinstance(one, Refusal):
            photo, seen = one.photo, one.seen
            whole = one.conversion.width * one.conversion.height
            try:
                one = one._replace(replaces=looks.check(seen, photo.file, pixels=whole))
            except PairError as fault:
                yield Refusal(file=photo.file, reason=fault.reason, detail=str(fault))
                continue
            looks.remove(one.replaces)
            looks.add(seen, photo.file, pixels=whole, is_replaceable=True)
        yield one


def _take(found: Found, config: IngestConfig) -> Taken | Refusal:
    name, credit = found.name, found.credit
    try:
        if found.fault is not None and found.fault.reason == "bad_name":
            raise found.fault
        licence = credit.licence or config.licence
        if not licence:
            raise no_licence(name)
        if found.fault is not None:
            raise found.fault
        decoded = read_image(found.data, name, config.most_pixels)
        if is_page_over_photograph(np.asarray(decoded.image)):  # as it came: resampling softens the steps
            said = "is a page over a photograph, with panels or buttons on it; leave it out"
            raise PairError("screenshot", f"{name}: {said}")
        pixels, frame = fitted(decoded.image, name, config)
        _check_looks(pixels, name)
        named = credit.degradation or (found.folder if found.folder in DEGRADATIONS else "")
        degradation, seen = _classes(pixels, name, named, config)
    except PairError as fault:
        return Refusal(file=name, reason=fault.reason, detail=str(fault))
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
        original=hashlib.sha256(found.data).hexdigest(),
    )
    width, height = decoded.image.size
    conversion = Conversion(
        key=photo.key, candidate="", width=width, height=height, frame=frame, changes=decoded.changes
    )
    return Taken(photo, Seen(key=photo.key, phash=phash(pixels), place=""), pixels, conversion)


def _classes(pixels: Pixels, name: str, named: str, config: IngestConfig) -> tuple[str, tuple[str, ...]]:
    """The class and all that is seen. A class that is named spares asking for one, not measuring."""
    try:
        degradation, seen = (measured if named else config.classify)(pixels)
    except PairError as fault:
        raise PairError(fault.reason, f"{name}: {fault}") from fault
    return named or degradation, seen


def _check_looks(pixels: Pixels, name: str) -> None:
    if is_flat(pixels):
        raise PairError("too_flat", f"{name}: shows next to nothing; leave it out")
    if is_screenshot(pixels):
        raise PairError("screenshot", f"{name}: is drawn, no photograph: a page, a chart, a window; leave it out")


def decode(data: bytes, name: str, most_pixels: int, *, see_through: str = "unsupported_mode") -> Image.Image:
    """A file as an upright 8-bit sRGB image; imaging.read_image() says what is taken, and what was changed."""
    return read_image(data, name, most_pixels, transparent=see_through).image


def fit(image: Image.Image, name: str, config: IngestConfig) -> Pixels:
    """The pixels of an upright photograph, brought to size by the rule `config.fit`. Raises PairError `too_small`."""
    return fitted(image, name, config)[0]


def fitted(image: Image.Image, name: str, config: IngestConfig) -> tuple[Pixels, tuple[int, ...]]:
    """As fit(), with the frame of the window that was taken, as Conversion has it."""
    width, height = image.size
    if min(width, height) < config.least:
        raise PairError("too_small", f"{name}: {width} x {height}; the short side must have {config.least} pixels")
    if config.fit != "crop":
        scale = config.most / (max(width, height) if config.fit == "pad" else min(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        if min(size) < config.least // 2:
            said = f"padding would make it {size[0]} x {size[1]}, and {config.least // 2} are needed"
            raise PairError("too_small", f"{name}: {said}; take another --fit")
        if size[0] * size[1] > config.most_pixels:
            raise PairError("too_large", f"{name}: is {width} x {height}, too long to be enlarged; crop it first")
        if size != image.size:
            image = image.resize(size, Image.Resampling.LANCZOS)
    left, top, right, bottom = window(np.asarray(image), config.most)
    frame = (*image.size, left, top, right - left, bottom - top)
    return np.asarray(image.crop((left, top, right, bottom))), frame


def window(pixels: Pixels, most: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the window of at most `most` x `most` pixels with most detail.

    Detail: the absolute differences of luma between neighbours, in both directions, summed. Windows lie 16 pixels
    apart, from the left and the top; of equal ones the one next to the middle is taken, then the upper, the left one.
    """
    height, width = pixels.shape[:2]
    wide, high = min(width, most), min(height, most)
    if (wide, high) == (width, height):
        return 0, 0, width, height
    cv2 = opencv()
    luma = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    # sums of rows and columns up to each place of a window, from sums over stripes: a whole integral image is large
    tops, lefts = np.arange(0, height - high + 1, STEP), np.arange(0, width - wide + 1, STEP)
    columns = np.zeros((len(tops), width), np.int64)
    for at, top in enumerate(tops):
        if at == 0:
            columns[0] = _detail(luma, 0, high)
        else:
            columns[at] = (
                columns[at - 1] - _detail(luma, top - STEP, top) + _detail(luma, top - STEP + high, top + high)
            )
    sums = np.concatenate([np.zeros((len(tops), 1), np.int64), np.cumsum(columns, axis=1)], axis=1)
    detail = sums[:, lefts + wide] - sums[:, lefts]
    off = np.abs(tops[:, None] - (height - high) / 2) + np.abs(lefts[None] - (width - wide) / 2)
    best = np.lexsort((off.ravel(), -detail.ravel()))[0]
    top, left = int(tops[best // len(lefts)]), int(lefts[best % len(lefts)])
    return left, top, left + wide, top + high


def _detail(luma: Pixels, top: int, bottom: int) -> npt.NDArray[np.int64]:
    """Rows top to bottom, each column's sum of differences to the pixel before and above; 0 at the edge."""
    rows = luma[max(top - 1, 0) : bottom].astype(np.int16)
    out = np.zeros(luma.shape[1], np.int64)
    out[1:] = np.abs(np.diff(rows[-(bottom - top) :], axis=1)).sum(axis=0)
    out += np.abs(np.diff(rows, axis=0)).sum(axis=0)
    return out
