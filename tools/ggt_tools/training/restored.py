"""Good candidates as real restorers return them: the truth's content, but not the truth's pixels.

    candidate = faithful(scene, random)

Generative models draw fine texture anew where the photograph has lost it, put everything up to 3 px elsewhere, choose
tones, contrast and saturation by taste, sharpen, denoise, leave a trace of the degradation, and answer as JPEG, as WebP
or as a frame of a video.
"""

from __future__ import annotations

import numpy as np

from ggt_format.schema import Image
from ggt_tools.imaging.planes import Plane, opencv
from ggt_tools.restorers import realesrgan
from ggt_tools.training.synthetic_degradations import between, clouds, jpeg, soft, to_bytes
from ggt_tools.training.synthetic_faults import Scene
from ggt_tools.training.video import compress_frame

Random = np.random.Generator
REALESRGAN_SHARE = 0.02  # of the good candidates whose lq has lost fine detail; each takes a core nine seconds
LOST = 0.25  # mean of lost_detail from which Real-ESRGAN is asked


def faithful(scene: Scene, random: Random, *, gentle: bool = False, free: bool = False) -> Image:
    """A good candidate.

    Args:
        scene: The pair.
        random: Where everything random comes from.
        gentle: The pixels stay nearer to the truth, for a fault that is put in afterwards.
        free: The degradation hides tones and white balance (night, haze, water, old prints): more of both is taste.
    """
    image = scene.gt
    chance = 0.5 if gentle else 1.0
    if not gentle and random.random() < REALESRGAN_SHARE and lost_detail(image, scene.lq, 2.0).mean() > LOST:
        image = redetailed(image, scene.lq)
    elif random.random() < 0.45 * chance:
        image = retextured(image, scene.lq, random.uniform(0.3, 1.0), random)
    if random.random() < 0.25 * chance:
        image = partial(image, scene.lq, random)
    if random.random() < 0.6 * chance:
        image = drifted(image, random.uniform(0.0, 3.0), random)
    if random.random() < 0.4 * chance:
        image = resettled(image, scene.lq, random.uniform(0.3, 1.5), random)
    if random.random() < 0.65:
        image = retoned(image, random.uniform(0.2, 1.4 if free else 1.0), random, balance=0.05 if free else 0.02)
    if random.random() < (0.5 if free else 0.25) * chance:
        image = relit_locally(image, random.uniform(0.0, 1.0), random)
    if random.random() < 0.1:
        image = bordered(image, scene.lq, random)
    which = random.random()
    if which < 0.3:
        image = sharpened(image, random.uniform(0.0, 1.0), random)
    elif which < 0.5:
        image = cleaned(image, random.uniform(0.0, 1.0), random)
    if random.random() < 0.6:
        image = answered(image, random)
    return image


def lost_detail(gt: Image, lq: Image, sigma: float) -> Plane:
    """0..1 at each pixel: how far the structure of gt finer than `sigma` does not stand in lq."""
    cv2 = opencv()
    bands = []
    for image in (gt, lq):
        plane = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)
        bands.append(plane - soft(plane, sigma))
    energy_gt, energy_lq, both = (soft(a * b, 4.0 * sigma) for a, b in ((bands[0],) * 2, (bands[1],) * 2, bands))
    likeness = both / np.sqrt(energy_gt * energy_lq + 0.3)
    return np.asarray(np.clip(1.2 - 1.5 * likeness, 0.0, 1.0), np.float32)


def retextured(gt: Image, lq: Image, strength: float, random: Random) -> Image:
    """Fine texture drawn anew where lq has lost it: the fine band of a place nearby, with the contrast of this one."""
    sigma = random.uniform(0.8, 2.2)
    light = gt.astype(np.float32)
    fine = light - soft(light, sigma)
    height, width = gt.shape[:2]
    if random.random() < 0.5:
        # a smooth displacement whose size changes within few pixels: statistics stay, phases change
        off = [random.uniform(2.0, 7.0) * clouds((height, width), random.uniform(0.02, 0.05), random) for _ in range(2)]
    else:
        angle, by = random.uniform(0, 2 * np.pi), random.uniform(6, 30)
        off = [np.full((height, width), by * turn, np.float32) for turn in (np.cos(angle), np.sin(angle))]
    other = _remapped(fine, *off)
    if random.random() < 0.3:
        other = -other
    grey, grey_other = fine.mean(axis=2), other.mean(axis=2)
    gain = np.sqrt((soft(grey * grey, 4.0) + 0.2) / (soft(grey_other * grey_other, 4.0) + 0.2))
    anew = other * np.clip(gain, 0.2, 2.5)[..., None]
    share = strength * lost_detail(gt, lq, sigma)[..., None]
    mixed = fine * np.sqrt(1.0 - share * share) + anew * share
    return to_bytes(light - fine + mixed)


def redetailed(gt: Image, lq: Image) -> Image:
    """Fine detail as Real-ESRGAN draws it, from a quarter of the size, where lq has lost it.

    Raises:
        ConfigError: Real-ESRGAN is not installed.
    """
    cv2 = opencv()
    small = cv2.resize(gt, (gt.shape[1] // 4, gt.shape[0] // 4), interpolation=cv2.INTER_AREA)
    large = cv2.resize(realesrgan.enlarge_photograph(small), gt.shape[1::-1], interpolation=cv2.INTER_AREA)
    share = soft(lost_detail(gt, lq, 2.0), 2.0)[..., None]
    light = gt.astype(np.float32)
    return to_bytes(light + share * (large.astype(np.float32) - light))


def partial(gt: Image, lq: Image, random: Random) -> Image:
    """A trace of the photograph's own pixels is left, everywhere or in parts."""
    share: float | Plane = random.uniform(0.05, 0.25)
    if random.random() < 0.4:
        share = (share / (1.0 + np.exp(-4.0 * clouds(gt.shape[:2], 0.4, random))))[..., None]
    light = gt.astype(np.float32)
    return to_bytes(light + share * (lq.astype(np.float32) - light))


def drifted(image: Image, by: float, random: Random) -> Image:
    """Everything lies up to `by` px elsewhere, smoothly."""
    height, width = image.shape[:2]
    scale = random.uniform(0.15, 0.8)
    fields = [clouds((height, width), scale, random) for _ in range(2)]
    most = float(np.quantile(np.hypot(*fields), 0.98)) + 1e-3
    angle, whole = random.uniform(0, 2 * np.pi), random.random() * 0.5 * by
    off = [
        field * ((by - whole) / most) + whole * turn
        for field, turn in zip(fields, (np.cos(angle), np.sin(angle)), strict=True)
    ]
    return to_bytes(_remapped(image.astype(np.float32), *off))


def resettled(gt: Image, lq: Image, by: float, random: Random) -> Image:
    """Edges that lq does not show exactly lie up to `by` px elsewhere, each for itself."""
    shape = gt.shape[:2]
    scale = random.uniform(0.03, 0.1)
    share = soft(lost_detail(gt, lq, 1.5), 4.0)
    off = [np.asarray(0.6 * by * share * clouds(shape, scale, random), np.float32) for _ in range(2)]
    return to_bytes(_remapped(gt.astype(np.float32), *off))


def bordered(image: Image, lq: Image, random: Random) -> Image:
    """A strip of up to 24 px at one border or two, for which there was nothing: from lq, mirrored, or drawn out."""
    out = image.copy()
    for _ in range(int(random.integers(1, 3))):
        turns, wide = int(random.integers(4)), int(random.integers(2, 25)) + 32
        view, source = np.rot90(out, turns), np.rot90(lq, turns)
        mirrored = view[wide : 2 * wide][::-1].copy()
        view[:wide] = (source[:wide], mirrored, view[wide : wide + 1])[random.integers(3)]
    return out


def retoned(image: Image, strength: float, random: Random, *, balance: float = 0.02) -> Image:
    """Gamma, contrast, saturation, and white balance by up to `balance`: by taste."""
    cv2 = opencv()
    tones = np.arange(256, dtype=np.float32) / 255.0
    if random.random() < 0.6:
        tones = tones ** np.float32(np.exp(random.uniform(-0.45, 0.45) * strength))
    if random.random() < 0.5:  # a curve like an S, or the other way round
        bend = random.uniform(-0.35, 0.6) * strength
        tones = tones + bend * (tones - 0.5) * 4.0 * tones * (1.0 - tones)
    if random.random() < 0.4:
        low, high = random.uniform(-0.06, 0.06, 2) * strength
        tones = low + (1.0 + high - low) * tones
    light = np.asarray(cv2.LUT(image, to_bytes(255.0 * tones)), np.float32)
    colour = float(np.exp(random.uniform(-0.4, 0.45) * strength)) if random.random() < 0.6 else 1.0
    gains = np.exp(random.uniform(-balance, balance, 3)) if random.random() < 0.5 else np.ones(3)
    mix = np.diag(gains) @ (np.eye(3) * colour + (1 - colour) * np.array([[0.299, 0.587, 0.114]]))
    return to_bytes(np.asarray(cv2.transform(light, mix.astype(np.float32)), np.float32))


def relit_locally(image: Image, strength: float, random: Random) -> Image:
    """Local contrast by CLAHE, or shade lifted: as an HDR look, in part."""
    cv2 = opencv()
    luma, cr, cb = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    if random.random() < 0.5:
        equal = cv2.createCLAHE(between(1.2, 3.0, strength), (4, 4)).apply(luma).astype(np.float32)
    else:
        base = soft(luma.astype(np.float32), random.uniform(10, 40))
        equal = luma * np.power((base + 20.0) / 150.0, -between(0.05, 0.35, strength))
    share = random.uniform(0.3, 0.8)
    luma = to_bytes(luma + share * (equal - luma))
    return np.asarray(cv2.cvtColor(cv2.merge([luma, cr, cb]), cv2.COLOR_YCrCb2RGB))


def sharpened(image: Image, strength: float, random: Random) -> Image:
    """An unsharp mask of 0.7 to 1.5 px, up to 70 %."""
    light = image.astype(np.float32)
    return to_bytes(light + between(0.1, 0.7, strength) * (light - soft(light, random.uniform(0.7, 1.5))))


def cleaned(image: Image, strength: float, random: Random) -> Image:
    """Lightly denoised: a bilateral filter, or a Gaussian below 0.6 px."""
    if random.random() < 0.6:
        return np.asarray(opencv().bilateralFilter(image, 5, between(6, 16, strength), 1.5))
    return to_bytes(soft(image.astype(np.float32), between(0.3, 0.6, strength)))


def answered(image: Image, random: Random) -> Image:
    """As a service returns it: JPEG, WebP or a frame of a video, or a slightly different size and back."""
    cv2 = opencv()
    which = random.random()
    if which < 0.25:
        scale = random.uniform(0.75, 1.5)
        other = cv2.resize(
            image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
        )
        back = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
        image = np.asarray(cv2.resize(other, image.shape[1::-1], interpolation=back))
    if which < 0.55:
        return jpeg(image, int(random.integers(78, 98)))
    if which < 0.7:
        return compress_frame(image, qp=int(random.integers(18, 31)))
    data = cv2.imencode(
        ".webp", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_WEBP_QUALITY, int(random.integers(70, 97))]
    )[1]
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def _remapped(plane: Plane, right: Plane, down: Plane) -> Plane:
    cv2 = opencv()
    y, x = np.mgrid[0 : plane.shape[0], 0 : plane.shape[1]].astype(np.float32)
    return np.asarray(
        cv2.remap(
            plane, (x + right).astype(np.float32), (y + down).astype(np.float32), cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REFLECT,
        ),
        np.float32,
    )  # fmt: skip
