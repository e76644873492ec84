"""adopt: import pairs that were made elsewhere; they pass the same gate as our own.

    image_files.py   the images of a set, wherever they are
    image_source.py  opens those of a folder, of archives or of a repository
    file_trees.py    the files of a folder or a repository, before anything is read
    collection.py    the images of many archives as one source
    trees.py         pairs in a release of both sides, whose folders state roles, classes and splits
    templates.py     pairs by the mapping file that a user writes
    releases.py      known releases: what lies at their root
    pair_rows.py     pairs of files by their names
    storing.py       which facts and images of a pair are stored
    imports.py       stores them, and counts
    plans.py         what a dry run prints and writes as CSV
    names.py         the parts of a name by which images are matched
    matching.py      which output belongs to which original, by their names
    layouts.py       pairs in folders and archives, matched by name, by a CSV, or by suffix
    lists.py         pairs that a list names: BasicSR's meta info, metadata.jsonl
    manifests.py     pairs that a manifest names: HarnessIR, DiffSynth-Studio, musubi-tuner, Pico-Banana-400K
    datasets.py      pairs in the rows of a dataset: parquet, WebDataset, the Hub
    sets.py          the known sets, and what licences allow
    drift.py         how far the outputs of a set are from their photographs
    run.py           the stage: `run(workspace, AdoptConfig(...))`

An output becomes a candidate as if a restorer had made it, so that align, score, verdict and pack treat it alike. The
true ground truth of a set is stored beside it in the workspace as a third image, and is not packed: a shard has three
members for each pair.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Container, Generator, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow

from ggt_format.png import encode_png
from ggt_format.schema import DEGRADATIONS, SOURCES, Image, pair_key
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.imaging import MAX_PIXELS, Decoded, read_image
from ggt_tools.imaging.perceptual_hash import is_flat, phash
from ggt_tools.records import (
    Adopted,
    AdoptedOrigin,
    Candidate,
    Conversion,
    PerceptualHash,
    Photo,
    Refusal,
    work_id,
)
from ggt_tools.stages.ingest.sources import map_in_order
from ggt_tools.stages.restore import FORMATS, NO_PROMPT

ADOPTED = "adopted:"  # before the name of a set, as `Candidate.restorer_name` has it

PUBLISHED = "published"  # the version of a HeldOutPair that the authors of a set chose for testing

STATED_PROMPT = "stated"  # the strategy of a prompt that a manifest states


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalPair:
    """A pair that was made elsewhere. Its files are read only when the pair is imported.

    Attributes:
        name: Name of the LQ image.
        output: Name of the restored image.
        lq: Returns the file of the LQ image, or raises PairError.
        gt: Returns the file of the restored image, or raises PairError.
        ref: Returns the file of the true ground truth, or raises PairError; None where there is none.
        lacks: Why there is no true ground truth, where nothing has reported that yet.
        degradation: Class of the pair; "" for that of the set.
        prompt: Prompt that the restored image was made with; "" where it is not stated.
        restorer: Model that made the restored image; "" for that of the set.
        split: `test` where the set publishes the pair for testing; else "".
        identity: A text that differs where a file of the pair differs, known without reading them; "" if unknown.
    """

    name: str
    output: str
    lq: Callable[[], bytes]
    gt: Callable[[], bytes]
    ref: Callable[[], bytes] | None = None
    lacks: str = ""
    degradation: str = ""
    prompt: str = ""
    restorer: str = ""
    split: str = ""
    identity: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairOptions:
    """What is stated of a set, and the sizes of its images.

    Attributes:
        name: Name of the set.
        restorer: Name of the model that made the outputs.
        licence: Licence of the set.
        degradation: Class of the pairs that have none of their own.
        local_only: Why nothing of the set may be pushed; "" where it may.
        source: Kind of source, one of `ggt_format.SOURCES`.
        source_name: Name of the source; "" for the name of the set.
        author: Author of the photographs.
        url: Address of the set.
        min_side: Pixels that the shorter side of a photograph must have.
        max_side: Pixels that the longer side may have. A larger image is reduced to it (Lanczos); nothing is cut or
            enlarged, since an output shows the whole of its original.
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
    min_side: int = 64
    max_side: int = 1024

    def __post_init__(self) -> None:
        if not self.name or not self.name.isprintable() or "\\" in self.name or ".." in self.name.split("/"):
            raise ConfigError(f"{self.name!r}: the set cannot have this name. Use letters, digits and hyphens.")
        if not self.restorer:
            raise ConfigError(f"{self.name}: the model that made the outputs is not stated. Name it: --restorer MODEL")
        if self.degradation not in DEGRADATIONS:
            raise ConfigError(
                f"{self.name}: the class {self.degradation!r} is not known. Choose one by --class: "
                f"{', '.join(DEGRADATIONS)}."
            )
        if self.source not in SOURCES:
            raise ConfigError(f"source: {self.source!r} is not known. Choose one of: {', '.join(SOURCES)}.")
        if not self.licence:
            raise ConfigError(f"{self.name}: the licence is not stated. Name it: --licence LICENCE")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedPair:
    """A pair that is imported. The records name no images until `store_images` has stored them.

    Attributes:
        photo: Facts of the photograph.
        seen: Its perceptual hash.
        candidate: The output.
        adopted: Where both come from.
        lq: File of the LQ image.
        gt: File of the restored image.
        ref: File of the true ground truth; b"" where there is none.
        conversions: What was changed of the photograph, and of the output if it was changed.
        origin: The files of the pair, if they are known without reading them; else None.
        split: As `ExternalPair.split`.
        remark: A message for the user; "" for none.
    """

    photo: Photo
    seen: PerceptualHash
    candidate: Candidate
    adopted: Adopted
    lq: bytes
    gt: bytes
    ref: bytes
    conversions: tuple[Conversion, ...] = ()
    origin: AdoptedOrigin | None = None
    split: str = ""
    remark: str = ""


@dataclass(frozen=True, slots=True)
class AlreadyDone:
    """A pair that is imported already.

    Attributes:
        origin: Its files, where they were not known yet; else None.
    """

    origin: AdoptedOrigin | None = None


def adopt(
    pairs: Iterable[ExternalPair],
    options: PairOptions,
    done: Container[str],
    clock: Callable[[], str],
    *,
    origins: Container[str] = (),
    threads: int = 1,
) -> Generator[ImportedPair | Refusal | AlreadyDone, None, None]:
    """Turn each external pair into facts and files, or say why it is rejected.

    Args:
        pairs: The pairs.
        options: What is stated of their set.
        done: Ids of the candidates that are imported already.
        clock: Returns the time for `Candidate.created`.
        origins: Ids of the origins (`AdoptedOrigin`) of pairs that are imported already: these are not read again.
        threads: Pairs that are read and decoded at a time.

    Yields:
        In the order of the pairs: the pair; a Refusal with a reason code: one of a folder or archive, one of
        `imaging.read_image` (with `output_` in front for the output), `too_flat` or `too_small`; or AlreadyDone.
    """

    def work_on(pair: ExternalPair) -> ImportedPair | Refusal | AlreadyDone:
        restorer = pair.restorer or options.restorer
        origin = work_id(options.name, "origin", restorer, pair.identity) if pair.identity else ""
        if origin and origin in origins:
            return AlreadyDone()
        file = f"{options.name}/{pair.name}"
        try:
            lq, gt = pair.lq(), pair.gt()
            lq_digest, gt_digest = (hashlib.sha256(data).hexdigest() for data in (lq, gt))
            work = work_id(lq_digest, "adopt", options.name, restorer, gt_digest)
            fact = AdoptedOrigin(id=origin, candidate=work) if origin else None
            if work in done:
                return AlreadyDone(fact)
            imported = _import(pair, options, file, lq, gt, work, clock())
            return dataclasses.replace(imported, origin=fact, split=pair.split)
        except PairError as error:
            return Refusal(file=file, reason=error.reason, detail=f"{options.name}: {error}")

    return map_in_order(work_on, pairs, threads)


def _import(
    pair: ExternalPair, options: PairOptions, file: str, lq: bytes, gt: bytes, work: str, created: str
) -> ImportedPair:
    original = read_image(lq, pair.name, MAX_PIXELS)
    pixels = shrink(original.image, options.max_side)
    height, width = pixels.shape[:2]
    if min(height, width) < options.min_side:
        raise PairError(
            "too_small",
            f"{pair.name}: the image is {width} x {height}, and its shorter side needs {options.min_side} pixels. "
            "Leave it out.",
        )
    if is_flat(pixels):
        raise PairError("too_flat", f"{pair.name}: the image shows almost nothing. Leave it out.")
    try:
        decoded = read_image(gt, pair.output, MAX_PIXELS)
    except PairError as error:
        raise PairError(f"output_{error.reason}", str(error)) from error
    if not decoded.is_plain or decoded.format not in FORMATS:
        gt = encode_png(np.asarray(decoded.image))
    ref, remark = _read_reference(pair, pixels, options)
    key = pair_key(pixels)
    degradation = pair.degradation or options.degradation
    return ImportedPair(
        photo=Photo(
            key=key,
            image="",
            width=width,
            height=height,
            degradation=degradation,
            degradations=(degradation,),
            source=options.source,
            source_name=options.source_name or options.name,
            licence=options.licence,
            author=options.author,
            url=options.url,
            file=file,
            original=hashlib.sha256(lq).hexdigest(),
        ),
        seen=PerceptualHash(key=key, phash=phash(pixels), split=""),
        candidate=Candidate(
            id=work,
            key=key,
            restorer=pair.restorer or options.restorer,
            strategy=STATED_PROMPT if pair.prompt else NO_PROMPT,
            prompt=pair.prompt,
            round=0,
            seed=0,
            created=created,
            image="",
            reason="",
            restorer_name=ADOPTED + options.name,
        ),
        adopted=Adopted(
            candidate=work,
            key=key,
            set=options.name,
            output=pair.output,
            width=decoded.image.width,
            height=decoded.image.height,
            reference="",
            local_only=options.local_only,
        ),
        lq=encode_png(pixels),
        gt=gt,
        ref=encode_png(ref) if ref is not None else b"",
        conversions=tuple(_conversions(key, work, original, decoded, (width, height))),
        remark=remark,
    )


def _conversions(key: str, candidate: str, lq: Decoded, gt: Decoded, size: tuple[int, int]) -> Iterator[Conversion]:
    """Yield what was changed of the photograph, and of the output if it was changed."""
    width, height = lq.image.size
    frame = (*size, 0, 0, *size)
    yield Conversion(key=key, candidate="", width=width, height=height, frame=frame, changes=lq.changes)
    if gt.changes:
        width, height = gt.image.size
        yield Conversion(key=key, candidate=candidate, width=width, height=height, frame=(), changes=gt.changes)


def _read_reference(pair: ExternalPair, lq: Image, options: PairOptions) -> tuple[Image | None, str]:
    """Return the true ground truth in the photograph's size, or a message why there is none."""
    if pair.ref is None:
        return None, f"{pair.lacks}. The pair is imported without its true ground truth." if pair.lacks else ""
    try:
        pixels = shrink(
            read_image(pair.ref(), f"{pair.name}: the true ground truth", MAX_PIXELS).image, options.max_side
        )
    except PairError as error:
        return None, f"{error} The pair is imported without it."
    if pixels.shape != lq.shape:
        ref_size, lq_size = (f"{image.shape[1]} x {image.shape[0]}" for image in (pixels, lq))
        return None, (
            f"{pair.name}: the true ground truth is {ref_size}, and the photograph is {lq_size}. The pair is imported "
            "without it."
        )
    return pixels, ""


def shrink(image: Pillow.Image, max_side: int) -> Image:
    """Return the pixels of an RGB image, reduced so that its longer side has at most `max_side` pixels."""
    scale = max_side / max(image.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Pillow.Resampling.LANCZOS)
    return np.asarray(image)
