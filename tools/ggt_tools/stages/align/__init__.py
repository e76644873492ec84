"""align: candidates into the frame of their photographs.

A model answers in a size, a frame and at times a view of its own. What the call itself did (padding, the model's size)
is known and undone; what the model did is estimated by a fit (fit.py), and undone where the fit is reliable
(confidence.py) and the motion within BOUNDS. An output that is certainly off, and that no fit brings back, is
`misaligned`. Where neither is certain, the output is left as it came (or moved, where that certainly improves it) with
a confidence below CONFIDENT. There is one resampling at most, from the reply's own pixels, and none where the motion is
below STILL.

On request, a small shift of the whole picture's colours is undone in the same resampling (colour.py).

Generative models also let regions drift slowly by a pixel or two. A small smooth warp (warp.py) undoes that in the same
resampling. What moves on its own, an object or a face, stays where it is: `residual_p99` shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict, TypeVar

import numpy as np

from ggt_format.schema import Image
from ggt_tools.errors import PairError
from ggt_tools.imaging import MAX_PIXELS, read_image
from ggt_tools.imaging.planes import Plane, opencv
from ggt_tools.processes import single_threaded_blas
from ggt_tools.records import Candidate
from ggt_tools.stages.align.blocks import SMALLEST, Photograph, Pyramid, luma_of, without_edge
from ggt_tools.stages.align.colour import ColourMap, apply_colour_map, fit_colour_map
from ggt_tools.stages.align.confidence import CONFIDENT as CONFIDENT
from ggt_tools.stages.align.confidence import STILL as STILL
from ggt_tools.stages.align.confidence import Belief, believe, clear_offset
from ggt_tools.stages.align.fit import Fit, fit
from ggt_tools.stages.align.geometry import Matrix, Warp, moved, places, scaling, warp_maps
from ggt_tools.stages.align.residual import residual as residual
from ggt_tools.stages.align.warp import add_warp

VERSION = "align-5"  # raise it whenever a pixel may change
SMOOTH = "+smooth"  # is added to the model of the frame's motion where a warp was added to it
RATIO = 0.02  # by which the sides' ratio of a reply may differ from what was sent: models round to multiples
WARP_GAIN = 0.05  # px at 1024 by which a warp must better a reply that is moved anyway; any other, STILL
NAN = float("nan")
Pixels = TypeVar("Pixels", Image, Plane)  # uint8, or float32 in 0..255
# How far a model may drift before its candidate is no longer taken for the same view. Ours: what the paper on
# GPT-4o's drift shows of small changes lies within, a reframed or newly composed picture beyond.
BOUNDS = {
    "translation": 0.05,  # of the long edge
    "scale": 0.10,
    "rotation": 3.0,  # degrees
    "shear": 0.05,  # and stretching of one side against the other
    "perspective": 0.03,  # of the long edge, what it moves a corner
    "missing": 0.06,  # share of the photograph for which the reply has nothing
}


@dataclass(frozen=True, slots=True, kw_only=True)
class InFrame:
    """A candidate's pixels in the photograph's frame, or why there are none."""

    image: Image | None  # uint8 RGB, of the photograph's size
    reason: str = ""
    detail: str = ""
    # of what the model did: identity | translation | similarity | affine | homography, with SMOOTH where warped, too
    model: str = "identity"
    # 3 x 3 by rows, photograph <- reply, in pixels whose centres are whole; after them, where there is one, the warp's
    # numbers (geometry.Warp)
    transform: tuple[float, ...] = ()
    confidence: float = 0.0  # 0..1, that `image` is aligned, or was in place; unsure below CONFIDENT
    error: float = NAN  # px at 1024, RMS over the structure, by which the fit may be off; NaN where there is none
    support: float = 0.0  # 0..1, share of the photograph's blocks that the fit explains
    scatter: float = NAN  # px at 1024, median distance of the blocks from where the fit has them
    motion: float = NAN  # px at 1024, RMS, by which the fit moves the reply beyond bringing it to size
    improvement: float = NAN  # by how much the fit raises the local correlation, in its standard errors
    offset: float = NAN  # px at 1024, median, that clear matches are off in `image`; measured where unsure
    residual_median: float = NAN  # px at 1024, local displacement that is left, measured on structure
    residual_p99: float = NAN
    missing: float = 0.0  # 0..1, share of the frame for which the reply has nothing; it is mirrored in
    resampled: bool = False  # whether the pixels are not the reply's own
    colour: ColourMap | None = None  # the map that was applied to the colours
    uncorrected: Image | None = None  # where there is one, the pixels without it: what the model's colours were
    size: tuple[int, int] = (0, 0)  # width and height of the reply, upright
    changes: tuple[str, ...] = ()  # of the reply's pixels before, as Conversion has them


@single_threaded_blas()
def align(reply: bytes, lq: Image | Photograph, candidate: Candidate, *, colour: bool = False) -> InFrame:
    """Undo what the call and the model did to the photograph's frame, in one resampling at most.

    Args:
        reply: the candidate's file as it came, of any size.
        lq: the photograph, uint8 RGB; or a Photograph, which keeps what was computed of it for further candidates.
        candidate: for the frame in which it was sent.
        colour: also undo a small shift of the colours, where the frame is certain. For photographs whose own colours
            are a target: ask colour.takes_colour_map.

    Returns:
        The pixels and what was estimated. Without pixels, the reason: `misaligned` (a certain motion is beyond BOUNDS,
        or the output is certainly off and no motion brings it back), `aspect_changed` (the reply has sides of another
        ratio, and no fit says what became of them), `transparent` (its alpha hides something), or one of ingest's
        reasons, since a reply is read as ingest reads a photograph, upright and in sRGB.
    """
    try:
        decoded = read_image(reply, "the reply", MAX_PIXELS, transparent="transparent")
    except PairError as fault:
        said = str(fault).partition(". ")[0]  # without the advice, which is for the owner of a file
        return InFrame(image=None, reason=fault.reason, detail=f"{said}; {_advice(candidate)}")
    photograph = lq if isinstance(lq, Photograph) else Photograph(lq)
    image: Image = np.asarray(decoded.image)
    height, width = photograph.shape
    # fewer pixels cannot be compared by blocks
    is_large_enough = max(width, height) >= SMALLEST and min(width, height, *image.shape[:2]) >= 32
    pyramid = Pyramid(without_edge(luma_of(image))) if is_large_enough else None
    frame = candidate.frame or (width, height, 0, 0, width, height)
    starts = _starts(image.shape[1], image.shape[0], frame)
    sent = starts[0]
    changed = abs(image.shape[1] * frame[1] / (image.shape[0] * frame[0]) - 1) > RATIO
    found, belief = _fit(photograph, pyramid, starts)
    facts = _facts(found, belief)
    is_sure = belief.confidence >= CONFIDENT
    if not is_sure and changed:
        said = f"the result is {image.shape[1]} x {image.shape[0]}, and the photograph {frame[0]} x {frame[1]}"
        if candidate.frame:
            said += " with its padding"
        detail = f"{said}; {_advice(candidate)}"
        return InFrame(image=None, reason="aspect_changed", detail=detail, transform=_flat(sent), **facts)
    matrix, model = (found.matrix, found.model) if found is not None and belief.apply else (sent, "identity")
    warp = found.warp if found is not None else None
    if warp is not None:
        model += SMOOTH
    missing, beyond, offset = _missing(matrix, width, height, image), "", NAN
    if model != "identity":
        nearest = min(starts, key=lambda start: _largest(start, matrix, None, width, height))
        beyond = _beyond(np.linalg.inv(nearest) @ matrix, width, height, missing)
    if beyond and not is_sure:  # without a warp: there is one only where it is sure
        matrix, model, beyond, missing = sent, "identity", "", _missing(sent, width, height, image)
    if not is_sure and pyramid is not None:
        offset, is_off = clear_offset(photograph, pyramid, matrix)
        if is_off:
            beyond = f"most of it is about {offset:.0f} px (at 1024) from its place, and no one motion brings it back"
    if beyond:
        return InFrame(
            image=None,
            reason="misaligned",
            detail=f"{beyond}; {_advice(candidate, first='ask for the same framing and viewpoint, or ')}",
            model=model,
            transform=_flat(matrix),
            missing=missing,
            offset=offset,
            **facts,
        )
    is_moved = model != "identity"
    brought, resampled = (_warped(image, matrix, warp, width, height), True) if is_moved else _sent(image, frame)
    colour_map, uncorrected = fit_colour_map(photograph.image, brought) if colour and is_sure else None, None
    if colour_map is not None:
        exact = image.astype(np.float32)  # so that the pixels are rounded once, after both
        exact = _warped(exact, matrix, warp, width, height) if is_moved else _sent(exact, frame)[0]
        brought, uncorrected, resampled = apply_colour_map(exact, colour_map.matrix), brought, True
    median, p99 = residual(photograph, brought)
    return InFrame(
        image=brought,
        colour=colour_map,
        uncorrected=uncorrected,
        model=model,
        transform=_flat(matrix) + (warp.numbers if warp is not None else ()),
        offset=offset,
        residual_median=median,
        residual_p99=p99,
        missing=missing,
        resampled=resampled,
        size=decoded.image.size,
        changes=decoded.changes,
        **facts,
    )


class _Facts(TypedDict):
    """The facts of a fit, under the names of InFrame."""

    confidence: float
    error: float
    support: float
    scatter: float
    motion: float
    improvement: float


def _facts(fit: Fit | None, belief: Belief) -> _Facts:
    if fit is None:
        return _Facts(confidence=belief.confidence, error=NAN, support=0.0, scatter=NAN, motion=NAN, improvement=NAN)
    return _Facts(
        confidence=belief.confidence,
        error=fit.error,
        support=fit.support,
        scatter=fit.scatter,
        motion=fit.motion,
        improvement=fit.improvement,
    )


def _advice(candidate: Candidate, *, first: str = "") -> str:
    """What to do about a candidate that is not brought into its frame: no seed helps where nothing was asked."""
    if candidate.restorer_name.startswith(("adopted:", "folder")):
        return "give a result of the same framing, or leave this one out"
    return f"{first}try another seed or restorer"


def _flat(matrix: Matrix) -> tuple[float, ...]:
    """Photograph <- reply, of reply <- photograph."""
    back = np.linalg.inv(matrix)
    return tuple(float(value) for value in (back / back[2, 2]).ravel())


def _starts(width: int, height: int, frame: tuple[int, ...]) -> list[Matrix]:
    """What the model may have made of the frame, as reply <- photograph; the first is what most do.

    Stretched it; where the ratio of the sides has changed, cut it or painted more around it, about its centre; where
    padding was sent, cut that off by itself.
    """
    sent_width, sent_height, left, top, inner_width, inner_height = frame
    place = np.array([[1.0, 0.0, left], [0.0, 1.0, top], [0.0, 0.0, 1.0]])
    x, y = width / sent_width, height / sent_height
    starts = [scaling(x, y) @ place]
    if abs(x / y - 1) > 0.002:
        for scale in (max(x, y), min(x, y)):
            centred = scaling(scale, scale)
            centred[:2, 2] += [(width - scale * sent_width) / 2, (height - scale * sent_height) / 2]
            starts.append(centred @ place)
    if (inner_width, inner_height) != (sent_width, sent_height):
        starts.append(scaling(width / inner_width, height / inner_height))
    return starts


def _fit(lq: Photograph, reply: Pyramid | None, starts: list[Matrix]) -> tuple[Fit | None, Belief]:
    """The fit and how far it is to be believed. It has a warp only where it is sure with it."""
    if reply is None:
        return None, believe(None, 0.0)
    height, width = lq.shape
    found = fit(lq, reply, starts)
    if found is None:
        return None, believe(None, 0.0)
    belief = believe(found, _largest(starts[0], found.matrix, None, width, height))
    # where the reply is resampled anyway, a warp costs nothing more
    warped = add_warp(lq, reply, starts[0], found, WARP_GAIN if belief.apply else STILL)
    if warped is not None:
        largest = _largest(starts[0], warped.matrix, warped.warp, width, height)
        warped_belief = believe(warped, largest)
        if warped_belief.confidence >= CONFIDENT and warped_belief.apply:
            return warped, warped_belief
    return found, belief


def _largest(start: Matrix, matrix: Matrix, warp: Warp | None, width: int, height: int) -> float:
    """Px at 1024 by which two ways into the reply lie apart, the largest over the frame."""
    points = places(width, height)
    shown = points if warp is None else points + warp.displacement(points, (height, width))
    there = moved(np.linalg.inv(start) @ matrix, shown) - points
    return float(np.linalg.norm(there, axis=1).max()) * 1024.0 / max(width, height)


def _missing(matrix: Matrix, width: int, height: int, image: Image) -> float:
    cells = (np.arange(100) + 0.5) / 100.0
    x, y = np.meshgrid(cells * width - 0.5, cells * height - 0.5)
    at = moved(matrix, np.stack([x.ravel(), y.ravel()], axis=1))
    inside = (at >= -1.0).all(axis=1) & (at[:, 0] <= image.shape[1]) & (at[:, 1] <= image.shape[0])
    return float(1.0 - inside.mean())


def _beyond(motion: Matrix, width: int, height: int, missing: float) -> str:
    """Which bound the motion breaks, and by how much; "" within all."""
    long = max(width, height)
    centre = np.array([[1.0, 0.0, (width - 1) / 2], [0.0, 1.0, (height - 1) / 2], [0.0, 0.0, 1.0]])
    about = np.linalg.inv(centre) @ motion @ centre
    about = about / about[2, 2]
    # at the centre: what a homography does to first order
    straight = about[:2, :2] - np.outer(about[:2, 2], about[2, :2])
    corners = places(width, height) - centre[:2, 2]
    bent = moved(about, corners) - (corners @ straight.T + about[:2, 2])
    left, stretch, right = np.linalg.svd(straight)
    turn = left @ right
    measured = {
        "translation": float(np.hypot(*about[:2, 2])) / long,
        "scale": abs(float(np.sqrt(stretch.prod())) - 1.0),
        "rotation": abs(float(np.degrees(np.arctan2(turn[1, 0], turn[0, 0])))),
        "shear": float(stretch[0] / max(stretch[1], 1e-9)) - 1.0,
        "perspective": float(np.linalg.norm(bent, axis=1).max()) / long,
        "missing": missing,
    }
    for name, value in measured.items():
        if value > BOUNDS[name]:
            shown = f"{value:.1f}°" if name == "rotation" else f"{100 * value:.1f} %"
            bound = f"{BOUNDS[name]:g}°" if name == "rotation" else f"{100 * BOUNDS[name]:g} %"
            return f"the view has changed: {name} {shown}, at most {bound}"
    return ""


def _sent(image: Pixels, frame: tuple[int, ...]) -> tuple[Pixels, bool]:
    """The photograph's part of a reply that kept its frame, and whether its size had to be changed for that."""
    sent_width, sent_height, left, top, width, height = frame
    same = image.shape[:2] == (sent_height, sent_width)
    if not same:
        cv2 = opencv()
        shrinks = image.shape[1] * image.shape[0] > sent_width * sent_height
        way = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        image = cv2.resize(image, (sent_width, sent_height), interpolation=way)
    return np.ascontiguousarray(image[top : top + height, left : left + width]), not same


def _warped(image: Pixels, matrix: Matrix, warp: Warp | None, width: int, height: int) -> Pixels:
    """The photograph's frame out of the reply's own pixels: Lanczos, after a blur where it shrinks them.

    A Gaussian of sigma 0.5 sqrt(scale² - 1) leaves what a pixel of that scale would see.
    """
    cv2 = opencv()
    middle = places(width, height)
    aside = [moved(matrix, middle + step) - moved(matrix, middle) for step in ([1.0, 0.0], [0.0, 1.0])]
    x, y = (float(np.linalg.norm(step, axis=1).mean()) for step in aside)
    sigma = [0.5 * np.sqrt(max(scale * scale - 1.0, 0.0)) for scale in (x, y)]
    if max(sigma) > 0.2:
        image = cv2.GaussianBlur(image, (0, 0), sigmaX=max(sigma[0], 0.01), sigmaY=max(sigma[1], 0.01))
    border = cv2.BORDER_REFLECT_101
    brought: Pixels
    if warp is not None:
        x_map, y_map = warp_maps(matrix, warp, (height, width))
        brought = cv2.remap(image, x_map, y_map, cv2.INTER_LANCZOS4, borderMode=border)
    else:
        flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
        brought = cv2.warpPerspective(image, matrix, (width, height), flags=flags, borderMode=border)
    return brought
