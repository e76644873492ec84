"""Flags: what optional checks find in photographs: faces, by a detector; anything else, by a model of the user's.

A flag is a fact: the number of faces, or a probability. What is done about it is for the gate to say. Faces are found
by the detector of dlib (extra `faces`): frontal ones from about 70 pixels on, so a photograph without a flag may show
people all the same. No model for watermarks or for nudity ships with a wheel under a clear licence, so the user names
one.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from ggt_format.images import decode_image
from ggt_format.schema import METRIC, Image
from ggt_tools.errors import ConfigError
from ggt_tools.events import Events
from ggt_tools.imaging.content_credentials import C2PA
from ggt_tools.metrics import identity
from ggt_tools.records import Flag, Photo
from ggt_tools.workspace.ledger import Ledger

FACES = "faces"
SIDE = 224  # pixels of the input of a model that does not fix it


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoCheck:
    """A check of photographs.

    Attributes:
        name: Name of the flag.
        version: Version of the check and of its model.
        measure: Takes uint8 RGB (height, width, 3) and returns the value of the flag.
    """

    name: str
    version: str
    measure: Callable[[Image], float]


def open_checks(names: Sequence[str], models: Mapping[str, str]) -> list[PhotoCheck]:
    """Return the checks that are asked for.

    Args:
        names: Names of checks that ship with this package: "faces".
        models: By name of the flag, an ONNX file.

    Raises:
        ConfigError: A name is unknown or cannot name a score, or a check cannot work here.
    """
    if unknown := [name for name in names if name != FACES]:
        raise ConfigError(
            f"--flag {unknown[0]}: is not a check. Give faces, or a model of yours: --flag-model NAME=FILE."
        )
    for name in models:
        if not METRIC.fullmatch(name) or name in (FACES, C2PA):
            raise ConfigError(
                f"--flag-model {name}: cannot be the name of a flag. Write lower-case letters, digits and _, for "
                "example nsfw, and neither faces nor c2pa."
            )
    checks = [_face_check()] if names else []
    return [*checks, *(_model_check(name, Path(file)) for name, file in models.items())]


def _face_check() -> PhotoCheck:
    if why := identity.explain_missing():
        raise ConfigError(f"--flag faces: {why}")
    return PhotoCheck(name=FACES, version="dlib-hog-1", measure=lambda pixels: float(len(identity.find_faces(pixels))))


def _model_check(name: str, path: Path) -> PhotoCheck:
    """Return the check of an ONNX model.

    Its one input is float32 RGB from 0 to 1, (1, 3, height, width), to which the photograph is resized, 224 x 224 where
    the model does not fix it. The last value of its first output is the probability, 0 to 1.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise ConfigError("onnxruntime is not installed. Install it: pip install 'ggt100k[generate]'")
    import onnxruntime

    try:
        content = path.read_bytes()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # equal values on machines with different numbers of cores
        session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as fault:  # onnxruntime has exceptions of its own
        raise ConfigError(
            f"{path}: is not a model that onnxruntime reads: {str(fault)[:200]}. Give an ONNX file."
        ) from fault
    inputs = session.get_inputs()
    shape = list(inputs[0].shape)
    if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3:
        raise ConfigError(
            f"{path}: its inputs are {[(each.name, each.shape) for each in inputs]}, and one of (1, 3, height, width) "
            "is needed. Export the model with that input."
        )
    height, width = (side if isinstance(side, int) and side > 0 else SIDE for side in shape[2:])

    def measure(pixels: Image) -> float:
        small = PillowImage.fromarray(pixels).resize((width, height), PillowImage.Resampling.BILINEAR)
        values = np.asarray(small, np.float32).transpose(2, 0, 1)[np.newaxis] / 255
        output = np.asarray(session.run(None, {inputs[0].name: values})[0], np.float64).ravel()
        if not output.size or not 0 <= output[-1] <= 1:
            raise ConfigError(
                f"{path}: its last output is {output[-1:].tolist()}, and a probability from 0 to 1 is needed. End the "
                "model with a sigmoid or a softmax."
            )
        return float(output[-1])

    return PhotoCheck(name=name, version=hashlib.sha256(content).hexdigest()[:16], measure=measure)


def flag_photos(ledger: Ledger, checks: Sequence[PhotoCheck], events: Events) -> int:
    """Check the photographs of a workspace that were not checked yet in this version, and store the flags.

    Returns:
        The number of flags that were stored.
    """
    works = list(_missing(ledger, checks))
    with events.progress("flags", len(works)) as progress:
        for photo, missing in works:
            pixels = decode_image(ledger.image(photo.image), photo.subject)
            ledger.add(
                *(
                    Flag(
                        key=photo.key,
                        candidate="",
                        name=check.name,
                        version=check.version,
                        value=check.measure(pixels),
                        detail="",
                    )
                    for check in missing
                )
            )
            progress.advance(1)
    return sum(len(missing) for _, missing in works)


def _missing(ledger: Ledger, checks: Sequence[PhotoCheck]) -> Iterator[tuple[Photo, list[PhotoCheck]]]:
    present = {(flag.key, flag.name, flag.version) for flag in ledger.all(Flag) if not flag.candidate}
    for photo in ledger.all(Photo):
        missing = [check for check in checks if (photo.key, check.name, check.version) not in present]
        if missing:
            yield photo, missing
