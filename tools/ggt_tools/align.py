"""align: candidates into the frame of their photographs."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow

from ggt_tools.degradations import opencv
from ggt_tools.records import Candidate
from ggt_tools.restore import FORMATS
from ggt_tools.restorers import Image

VERSION = "align-1"  # raise it whenever a pixel may change
RATIO = 0.02  # by which the sides' ratio of a reply may differ from what was sent: models round to multiples


@dataclass(frozen=True, slots=True, kw_only=True)
class InFrame:
    """A candidate's pixels in the photograph's frame, or why there are none."""

    image: Image | None  # uint8 RGB, of the photograph's size
    reason: str = ""
    detail: str = ""


def align(reply: bytes, candidate: Candidate, *, width: int, height: int) -> InFrame:
    """Undoes what the call did to the photograph's frame: padding, and the model's own size. One resampling at most.

    `reply`: the candidate's file as it came, of any size. `aspect_changed` where its sides' ratio is another one.
    """
    with Pillow.open(io.BytesIO(reply), formats=FORMATS) as file:
        image: Image = np.asarray(file.convert("RGB"))
    sent_width, sent_height, left, top, _, _ = candidate.frame or (width, height, 0, 0, width, height)
    if image.shape[:2] == (sent_height, sent_width):
        return InFrame(image=np.ascontiguousarray(image[top : top + height, left : left + width]))
    scale_x, scale_y = image.shape[1] / sent_width, image.shape[0] / sent_height
    if abs(scale_x / scale_y - 1) > RATIO:
        said = f"came back as {image.shape[1]} x {image.shape[0]}, was sent as {sent_width} x {sent_height}"
        return InFrame(image=None, reason="aspect_changed", detail=f"{said}; try another seed or restorer")
    cv2 = opencv()
    shrinks = scale_x > 1
    whole = cv2.resize(image, (sent_width, sent_height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return InFrame(image=np.ascontiguousarray(whole[top : top + height, left : left + width]))
