"""Local displacement that is left between a photograph and its aligned restoration."""

from __future__ import annotations

import numpy as np

from ggt_format.schema import Image
from ggt_tools.imaging.planes import opencv
from ggt_tools.stages.align.blocks import SMALLEST, Photograph, local_contrast, luma_of

NAN = float("nan")


def residual(lq: Photograph, gt: Image) -> tuple[float, float]:
    """Local displacement between a photograph and its restoration: median and 99th percentile, in px at 1024.

    Dense inverse search flow (Kroeger et al., ECCV 2016) of local contrast at 512 px long edge, both ways; it counts
    where both ways agree and both pictures hold structure. NaN where that is less than a hundredth of the picture.
    """
    height, width = lq.shape[:2]
    if max(height, width) < SMALLEST or min(height, width) < 32:
        return NAN, NAN
    cv2 = opencv()
    scale = min(1.0, 512.0 / max(height, width))
    size = (max(32, round(width * scale)), max(32, round(height * scale)))
    one, other = (
        local_contrast(luma if scale == 1.0 else cv2.resize(luma, size, interpolation=cv2.INTER_AREA))
        for luma in (lq.luma, luma_of(gt))
    )
    first, second = (np.asarray(np.clip(plane * 50.0 + 128.0, 0, 255), np.uint8) for plane in (one, other))
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    there, back = flow.calc(first, second, None), flow.calc(second, first, None)
    x, y = np.meshgrid(np.arange(first.shape[1], dtype=np.float32), np.arange(first.shape[0], dtype=np.float32))
    returned = cv2.remap(back, x + there[..., 0], y + there[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    agrees = np.linalg.norm(there + returned, axis=2) < 0.5
    textured = cv2.GaussianBlur(np.minimum(np.abs(one), np.abs(other)), (0, 0), 3.0) > 0.25
    counts = agrees & textured
    if counts.mean() < 0.01:
        return NAN, NAN
    length = np.linalg.norm(there[counts], axis=1) * 1024.0 / max(first.shape)
    median, p99 = np.percentile(length, (50, 99))
    return float(median), float(p99)
