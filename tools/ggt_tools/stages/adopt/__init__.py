"""adopt: pairs that were made elsewhere, into the ledger, and from there through the same gates as our own.

    places.py     folders, and zips that are read in place
    matching.py   which output belongs to which original
    layouts.py    the ways in which pairs lie elsewhere: two folders, suffixes, meta_info, metadata.jsonl, datasets
    sets.py       the nine sets of GPT-4o-Restore, and what licences allow
    drift.py      how far a set's outputs went from their photographs: proportion, shift, objects, viewpoint
    fidelity.py   how near a restored image is to the true one, where the set has it

An output becomes a candidate as if a restorer had made it: align, score, verdict and pack know no difference. The true
ground truth stays beside it in the workspace as a third image: a shard has three members a pair, and room for no other.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow

from ggt_format.png import encode_png
from ggt_format.schema import DEGRADATIONS, SOURCES, pair_key
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.imaging import Decoded, read_image
from ggt_tools.imaging.perceptual_hash import is_flat, phash
from ggt_tools.records import Adopted, Candidate, Conversion, Photo, Refusal, Seen, work_id
from ggt_tools.stages.ingest import Pixels
from ggt_tools.stages.restore import FORMATS, NO_PROMPT

MOST_PIXELS = 89_478_485  # of an image, before it is decoded
ADOPTED = "adopted:"  # before the set's name, as who made a candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """A pair as it lies elsewhere. Each file by its name and by how its bytes are read, which may raise PairError."""

    name: str  # of the low-quality image
    output: str
    lq: Callable[[], bytes]
    gt: Callable[[], bytes]
    ref: Callable[[], bytes] | None = None
    lacks: str = ""  # why it has no true ground truth, where nothing has said so yet
    degradation: str = ""  # its class, where it has one of its own; else the set's


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptConfig:
    """`local_only`: "" or why nothing of the set may leave this machine. `degradation`: the class of all of it.

    most: pixels of the longer side; what is larger is brought down to it by Lanczos, and nothing is cut or enlarged:
    an output shows the whole of its original.
    """

    name: str
    restorer: str
    licence: str
    degradation: str
    local_only: str = ""
    source: str = "dataset"
    source_name: str = ""
    author: str = ""
    url: str = ""
    least: int = 64  # pixels of the shorter side
    most: int = 1024

    def __post_init__(self) -> None:
        if not self.name or not self.name.isprintable() or "\\" in self.name or ".." in self.name.split("/"):
            raise ConfigError(f"{self.name!r} is no name for a set; take letters, digits and hyphens")
        if not self.restorer:
            raise ConfigError(f"{self.name}: what made its outputs is not known; name it: --restorer MODEL")
        if self.degradation not in DEGRADATIONS:
            known = ", ".join(DEGRADATIONS)
            raise ConfigError(f"{self.name}: its class, {self.degradation!r}, is none of {known}; name it: --class")
        if self.source not in SOURCES:
            raise ConfigError(f"--source {self.source}: is none of {', '.join(SOURCES)}")
        if not self.licence:
            raise ConfigError(f"{self.name}: has no licence; name it: --licence")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A pair that is taken in; its images have no names in the records until they are stored."""

    photo: Photo
    seen: Seen
    candidate: Candidate
    adopted: Adopted
    lq: bytes  # files, to be stored
    gt: bytes
    ref: bytes  # b"" where there is none
    conversions: tuple[Conversion, ...] = ()  # of the photograph, and of the output where it was changed
    remark: str = ""  # what is worth saying of it all the same


def adopt(
    pairs: Iterable[Elsewhere], config: AdoptConfig, done: Container[str], clock: Callable[[], str]
) -> Iterator[Taken | Refusal | None]:
    """Each pair as facts and files, why it is refused, or None where its candidate is among the ids that are `done`.

    Reasons: those of a place (places.py), of ingest's decoding, and `too_flat`, `too_small`, `output_*`.
    """
    for pair in pairs:
        file = f"{config.name}/{pair.name}"
        try:
            lq, gt = pair.lq(), pair.gt()
            digest = hashlib.sha256(lq).hexdigest()
            work = work_id(digest, "adopt", config.name, config.restorer, hashlib.sha256(gt).hexdigest())
            yield None if work in done else _take(pair, config, file, lq, gt, work, clock())
        except PairError as fault:
            yield Refusal(file=file, reason=fault.reason, detail=f"{config.name}: {fault}")


def _take(pair: Elsewhere, config: AdoptConfig, file: str, lq: bytes, gt: bytes, work: str, created: str) -> Taken:
    original = read_image(lq, pair.name, MOST_PIXELS)
    pixels = shrunk(original.image, config.most)
    if min(pixels.shape[:2]) < config.least:
        size = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise PairError("too_small", f"{pair.name}: {size}; the short side must have {config.least} pixels")
    if is_flat(pixels):
        raise PairError("too_flat", f"{pair.name}: shows next to nothing; leave it out")
    try:
        decoded = read_image(gt, pair.output, MOST_PIXELS)
    except PairError as fault:
        raise PairError(f"output_{fault.reason}", str(fault)) from fault
    output = decoded.image
    if not decoded.is_plain or decoded.format not in FORMATS:
        gt = encode_png(np.asarray(output))
    ref, remark = _reference(pair, pixels, config)
    height, width = pixels.shape[:2]
    key = pair_key(pixels)
    degradation = pair.degradation or config.degradation
    photo = Photo(
        key=key, image="", width=width, height=height, degradation=degradation,
        degradations=(degradation,), source=config.source, source_name=config.source_name or config.name,
        licence=config.licence, author=config.author, url=config.url, file=file,
        original=hashlib.sha256(lq).hexdigest(),
    )  # fmt: skip
    candidate = Candidate(
        id=work, key=key, restorer=config.restorer, strategy=NO_PROMPT, prompt="", round=0, seed=0, created=created,
        image="", reason="", maker=ADOPTED + config.name,
    )  # fmt: skip
    adopted = Adopted(
        candidate=work, key=key, set=config.name, output=pair.output, width=output.width, height=output.height,
        reference="", local_only=config.local_only,
    )  # fmt: skip
    seen = Seen(key=key, phash=phash(pixels), place="")
    return Taken(
        photo=photo, seen=seen, candidate=candidate, adopted=adopted, lq=encode_png(pixels), gt=gt,
        ref=encode_png(ref) if ref is not None else b"", remark=remark,
        conversions=tuple(_conversions(key, work, original, decoded, (width, height))),
    )  # fmt: skip


def _conversions(key: str, candidate: str, lq: Decoded, gt: Decoded, size: tuple[int, int]) -> Iterator[Conversion]:
    width, height = lq.image.size
    yield Conversion(
        key=key, candidate="", width=width, height=height, frame=(*size, 0, 0, *size), changes=lq.changes
    )  # fmt: skip
    if gt.changes:
        width, height = gt.image.size
        yield Conversion(key=key, candidate=candidate, width=width, height=height, frame=(), changes=gt.changes)


def _reference(pair: Elsewhere, lq: Pixels, config: AdoptConfig) -> tuple[Pixels | None, str]:
    """The true ground truth in the photograph's size, or why there is none; without it the pair is still one."""
    if pair.ref is None:
        return None, f"{pair.lacks}; it is taken in without its ground truth" if pair.lacks else ""
    try:
        pixels = shrunk(read_image(pair.ref(), f"{pair.name}: its ground truth", MOST_PIXELS).image, config.most)
    except PairError as fault:
        return None, f"{fault}; it is taken in without"
    if pixels.shape != lq.shape:
        sizes = " and ".join(f"{one.shape[1]} x {one.shape[0]}" for one in (pixels, lq))
        return None, f"{pair.name}: its ground truth and it are {sizes}; it is taken in without"
    return pixels, ""


def shrunk(image: Pillow.Image, most: int) -> Pixels:
    """The pixels of an image whose longer side has at most so many: uint8 RGB."""
    scale = most / max(image.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Pillow.Resampling.LANCZOS)
    return np.asarray(image)


def stored(taken: Taken, put: Callable[[bytes], str]) -> tuple[Photo | Seen | Candidate | Adopted | Conversion, ...]:
    """The facts of a pair, with the names that `put` gave its images."""
    return (
        dataclasses.replace(taken.photo, image=put(taken.lq)),
        taken.seen,
        dataclasses.replace(taken.candidate, image=put(taken.gt)),
        dataclasses.replace(taken.adopted, reference=put(taken.ref) if taken.ref else ""),
        *taken.conversions,
    )


def tightened(adopted: Iterable[Adopted], config: AdoptConfig) -> list[Adopted]:
    """What is to be recorded where a set that is there already may not be passed on, as is known only now.

    A fact is never edited: each photograph gets a further one, of no candidate, and the strictest of its facts counts.
    """
    facts = list(adopted)
    stays = {each.key for each in facts if each.local_only}
    loose = {each.key: each for each in facts if each.set == config.name and each.key not in stays}
    return [
        dataclasses.replace(
            each, candidate=work_id(each.candidate, "stays", config.local_only), reference="",
            local_only=config.local_only,
        )
        for each in loose.values()
        if config.local_only
    ]  # fmt: skip
