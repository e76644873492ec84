"""Good candidates like those of real restorers: the content of the ground truth, but not its pixels.

    candidate = faithful(scene, random)

Generative models draw fine texture anew where the photograph lost it, shift the image by up to 3 px, choose tones,
contrast and saturation, sharpen, denoise, leave a trace of the degradation, and return JPEG, WebP or a video frame.
"""

from __future__ import annotations

import numpy as np

from ggt_format.schema import Image
from ggt_tools.imaging.planes import Plane, opencv
from ggt_tools.restorers import realesrgan
from ggt_tools.training.synthetic_degradations import blur_gaussian, draw_clouds, encode_jpeg, interpolate, to_bytes
from ggt_tools.training.synthetic_faults import Scene
from ggt_tools.training.video import compress_frame

Random = np.random.Generator
REALESRGAN_SHARE = (
    0.02  # fraction of the good candidates with lost detail that get Real-ESRGAN, which takes nine seconds on a core
)
LOST = 0.25  # minimum mean of lost_detail for Real-ESRGAN


def restore_faithfully(scene: Scene, random: Random, *, gentle: bool = False, free: bool = False) -> Image:
    """Return a good candidate.

    Args:
        scene: The pair.
        random: Source of every random choice.
        gentle: Keep the pixels nearer to the ground truth, for a fault that is added afterwards.
        free: Allow more change of tones and white balance, for degradations that hide them, such as night and haze.
    """
    image = scene.gt
    chance = 0.5 if gentle else 1.0
    if not gentle and random.random() < REALESRGAN_SHARE and measure_lost_detail(image, scene.lq, 2.0).mean() > LOST:
        image = redraw_detail(image, scene.lq)
    elif random.random() < 0.45 * chance:
        image = replace_texture(image, scene.lq, random.uniform(0.3, 1.0), random)
    if random.random() < 0.25 * chance:
        image = blend_photograph(image, scene.lq, random)
    if random.random() < 0.6 * chance:
        image = displace(image, random.uniform(0.0, 3.0), random)
    if random.random() < 0.4 * chance:
        image = displace_edges(image, scene.lq, random.uniform(0.3, 1.5), random)
    if random.random() < 0.65:
        image = change_tones(image, random.uniform(0.2, 1.4 if free else 1.0), random, balance=0.05 if free else 0.02)
    if random.random() < (0.5 if free else 0.25) * chance:
        image = raise_local_contrast(image, random.uniform(0.0, 1.0), random)
    if random.random() < 0.1:
        image = replace_borders(image, scene.lq, random)
    which = random.random()
    if which < 0.3:
        image = sharpen(image, random.uniform(0.0, 1.0), random)
    elif which < 0.5:
        image = denoise(image, random.uniform(0.0, 1.0), random)
    if random.random() < 0.6:
        image = encode_reply(image, random)
    return image


def measure_lost_detail(gt: Image, lq: Image, sigma: float) -> Plane:
    """Return for each pixel how much structure of gt finer than `sigma` px is missing in lq: float32, 0..1."""
    cv2 = opencv()
    bands = []
    for image in (gt, lq):
        plane = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)
        bands.append(plane - blur_gaussian(plane, sigma))
    energy_gt, energy_lq, both = (
        blur_gaussian(a * b, 4.0 * sigma) for a, b in ((bands[0],) * 2, (bands[1],) * 2, bands)
    )
    likeness = both / np.sqrt(energy_gt * energy_lq + 0.3)
    return np.asarray(np.clip(1.2 - 1.5 * likeness, 0.0, 1.0), np.float32)


def replace_texture(gt: Image, lq: Image, strength: float, random: Random) -> Image:
    """Replace fine texture that lq lost by that of a nearby position, with the contrast of this position."""
    sigma = random.uniform(0.8, 2.2)
    light = gt.astype(np.float32)
    fine = light - blur_gaussian(light, sigma)
    height, width = gt.shape[:2]
    if random.random() < 0.5:
        # a smooth displacement that varies within few pixels keeps statistics and changes phases
        off = [
            random.uniform(2.0, 7.0) * draw_clouds((height, width), random.uniform(0.02, 0.05), random)
            for _ in range(2)
        ]
    else:
        angle, by = random.uniform(0, 2 * np.pi), random.uniform(6, 30)
        off = [np.full((height, width), by * turn, np.float32) for turn in (np.cos(angle), np.sin(angle))]
    other = _remap(fine, *off)
    if random.random() < 0.3:
        other = -other
    grey, grey_other = fine.mean(axis=2), other.mean(axis=2)
    gain = np.sqrt((blur_gaussian(grey * grey, 4.0) + 0.2) / (blur_gaussian(grey_other * grey_other, 4.0) + 0.2))
    anew = other * np.clip(gain, 0.2, 2.5)[..., None]
    share = strength * measure_lost_detail(gt, lq, sigma)[..., None]
    mixed = fine * np.sqrt(1.0 - share * share) + anew * share
    return to_bytes(light - fine + mixed)


def redraw_detail(gt: Image, lq: Image) -> Image:
    """Replace fine detail that lq lost by that of Real-ESRGAN, from a quarter of the size.

    Raises:
        ConfigError: Real-ESRGAN is not installed.
    """
    cv2 = opencv()
    small = cv2.resize(gt, (gt.shape[1] // 4, gt.shape[0] // 4), interpolation=cv2.INTER_AREA)
    large = cv2.resize(realesrgan.enlarge_photograph(small), gt.shape[1::-1], interpolation=cv2.INTER_AREA)
    share = blur_gaussian(measure_lost_detail(gt, lq, 2.0), 2.0)[..., None]
    light = gt.astype(np.float32)
    return to_bytes(light + share * (large.astype(np.float32) - light))


def blend_photograph(gt: Image, lq: Image, random: Random) -> Image:
    """Blend in the pixels of the photograph by 5 to 25 %, everywhere or in parts."""
    share: float | Plane = random.uniform(0.05, 0.25)
    if random.random() < 0.4:
        share = (share / (1.0 + np.exp(-4.0 * draw_clouds(gt.shape[:2], 0.4, random))))[..., None]
    light = gt.astype(np.float32)
    return to_bytes(light + share * (lq.astype(np.float32) - light))


def displace(image: Image, distance: float, random: Random) -> Image:
    """Displace the image smoothly by up to `distance` px."""
    height, width = image.shape[:2]
    scale = random.uniform(0.15, 0.8)
    fields = [draw_clouds((height, width), scale, random) for _ in range(2)]
    most = float(np.quantile(np.hypot(*fields), 0.98)) + 1e-3
    angle, whole = random.uniform(0, 2 * np.pi), random.random() * 0.5 * distance
    off = [
        field * ((distance - whole) / most) + whole * turn
        for field, turn in zip(fields, (np.cos(angle), np.sin(angle)), strict=True)
    ]
    return to_bytes(_remap(image.astype(np.float32), *off))


def displace_edges(gt: Image, lq: Image, distance: float, random: Random) -> Image:
    """Displace edges that lq does not show exactly by up to `distance` px, independently of each other."""
    shape = gt.shape[:2]
    scale = random.uniform(0.03, 0.1)
    share = blur_gaussian(measure_lost_detail(gt, lq, 1.5), 4.0)
    off = [np.asarray(0.6 * distance * share * draw_clouds(shape, scale, random), np.float32) for _ in range(2)]
    return to_bytes(_remap(gt.astype(np.float32), *off))


def replace_borders(image: Image, lq: Image, random: Random) -> Image:
    """Replace a strip of up to 24 px at one or two borders by that of lq, a mirrored or an extended one."""
    out = image.copy()
    for _ in range(int(random.integers(1, 3))):
        turns, wide = int(random.integers(4)), int(random.integers(2, 25)) + 32
        view, source = np.rot90(out, turns), np.rot90(lq, turns)
        mirrored = view[wide : 2 * wide][::-1].copy()
        view[:wide] = (source[:wide], mirrored, view[wide : wide + 1])[random.integers(3)]
    return out


def change_tones(image: Image, strength: float, random: Random, *, balance: float = 0.02) -> Image:
    """Change gamma, contrast, saturation, and the white balance by up to `balance`."""
    cv2 = opencv()
    tones = np.arange(256, dtype=np.float32) / 255.0
    if random.random() < 0.6:
        tones = tones ** np.float32(np.exp(random.uniform(-0.45, 0.45) * strength))
    if random.random() < 0.5:  # an S-shaped curve or its inverse
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


def raise_local_contrast(image: Image, strength: float, random: Random) -> Image:
    """Raise local contrast by CLAHE or lift shadows, partly, as HDR processing does."""
    cv2 = opencv()
    luma, cr, cb = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    if random.random() < 0.5:
        equal = cv2.createCLAHE(interpolate(1.2, 3.0, strength), (4, 4)).apply(luma).astype(np.float32)
    else:
        base = blur_gaussian(luma.astype(np.float32), random.uniform(10, 40))
        equal = luma * np.power((base + 20.0) / 150.0, -interpolate(0.05, 0.35, strength))
    share = random.uniform(0.3, 0.8)
    luma = to_bytes(luma + share * (equal - luma))
    return np.asarray(cv2.cvtColor(cv2.merge([luma, cr, cb]), cv2.COLOR_YCrCb2RGB))


def sharpen(image: Image, strength: float, random: Random) -> Image:
    """Apply an unsharp mask of 0.7 to 1.5 px and up to 70 %."""
    light = image.astype(np.float32)
    return to_bytes(light + interpolate(0.1, 0.7, strength) * (light - blur_gaussian(light, random.uniform(0.7, 1.5))))


def denoise(image: Image, strength: float, random: Random) -> Image:
    """Denoise lightly by a bilateral filter, or a Gaussian below 0.6 px."""
    if random.random() < 0.6:
        return np.asarray(opencv().bilateralFilter(image, 5, interpolate(6, 16, strength), 1.5))
    return to_bytes(blur_gaussian(image.astype(np.float32), interpolate(0.3, 0.6, strength)))


def encode_reply(image: Image, random: Random) -> Image:
    """Encode as a provider does: as JPEG, WebP or a video frame, or at a slightly different size."""
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
        return encode_jpeg(image, int(random.integers(78, 98)))
    if which < 0.7:
        return compress_frame(image, qp=int(random.integers(18, 31)))
    data = cv2.imencode(
        ".webp", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_WEBP_QUALITY, int(random.integers(70, 97))]
    )[1]
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def _remap(plane: Plane, right: Plane, down: Plane) -> Plane:
    """Displace a plane by (right, down) in pixels."""
    cv2 = opencv()
    y, x = np.mgrid[0 : plane.shape[0], 0 : plane.shape[1]].astype(np.float32)
    return np.asarray(
        cv2.remap(
            plane, (x + right).astype(np.float32), (y + down).astype(np.float32), cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REFLECT,
        ),
        np.float32,
    )  # fmt: skip
