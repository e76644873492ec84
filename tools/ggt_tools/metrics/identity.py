"""The metric of identity: the distance between embeddings of the same face in lq and gt.

The extra `faces` installs dlib-bin (dlib under the Boost licence) and face-recognition-models, which contains Davis
King's networks in the public domain (CC0). This module uses the 5 landmarks and the 128 values of the face
recognition network (dlib_face_recognition_resnet_model_v1); two images of one person are less than about 0.6 apart.
Faces are detected by dlib's detector of oriented gradients (Dalal, Triggs, CVPR 2005; King, 2015), if they are frontal
and about 70 px large or more. Nothing is downloaded.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ggt_format.schema import Image
from ggt_tools.errors import ConfigError
from ggt_tools.metrics.core import Pair, resize_to

VERSION = "faces-1"  # raise it whenever a value may change
LANDMARKS = "shape_predictor_5_face_landmarks.dat"
EMBEDDING = "dlib_face_recognition_resnet_model_v1.dat"
LONG_EDGE = 1600  # px: images are reduced to this long edge for detection
MAX_FACES = 8  # only the largest ones are compared, since each takes a quarter of a second
SAME_FACE = 0.5  # boxes of both images show the same face if the smaller one lies in the other by this fraction
Box = tuple[int, int, int, int]  # left, top, right, bottom
Embedding = npt.NDArray[np.float64]


class FaceReader(Protocol):
    """Detects faces and computes their embeddings."""

    def find(self, image: Image) -> list[Box]:
        """Return the boxes of the faces in a uint8 RGB image (height, width, 3)."""

    def embed(self, image: Image, box: Box) -> Embedding:
        """Return the embedding of the face in a box: float64 (128,)."""


def face_distance(pair: Pair) -> float:
    """Measure the distance of embeddings in lq and gt for the face that changed most; 0 if no face is detected.

    Faithful restorations of real portraits measure 0.1 to 0.4, another person 0.6 and more.
    """
    return pair.compute_once(_compute_distance)


METRICS: dict[str, Callable[[Pair], float]] = {"face_distance": face_distance}


def compare_faces(lq: Image, gt: Image, reader: FaceReader) -> float:
    """Return the largest distance over the faces of lq and gt. Each face is read in the same box of both images.

    Args:
        lq, gt: uint8 RGB (height, width, 3), of the same size.
        reader: Detects and embeds faces.
    """
    faces = reader.find(gt)
    faces += [box for box in reader.find(lq) if all(_overlap(box, face) < SAME_FACE for face in faces)]
    largest = sorted(faces, key=_area, reverse=True)[:MAX_FACES]
    distances = [np.linalg.norm(reader.embed(lq, box) - reader.embed(gt, box)) for box in largest]
    return float(max(distances, default=0.0))


def find_faces(image: Image) -> list[Box]:
    """Return the frontal faces of a uint8 RGB picture, from about 70 pixels on."""
    return _dlib_reader().find(np.ascontiguousarray(resize_to(image, LONG_EDGE)))


def explain_missing() -> str:
    """Return why faces cannot be compared on this machine, "" if they can, without loading anything."""
    for module, package in (("dlib", "dlib-bin"), ("face_recognition_models", "face-recognition-models")):
        if importlib.util.find_spec(module) is None:
            return f"{package} is not installed. Install it: pip install 'ggt100k[faces]'"
    absent = [name for name in (LANDMARKS, EMBEDDING) if not (_model_folder() / name).is_file()]
    return f"{absent[0]} is missing from face-recognition-models. Install that package again." if absent else ""


def _compute_distance(pair: Pair) -> float:
    lq, gt = (np.ascontiguousarray(resize_to(image, LONG_EDGE)) for image in (pair.lq, pair.gt))
    return compare_faces(lq, gt, _dlib_reader())


def _area(box: Box) -> int:
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def _overlap(a: Box, b: Box) -> float:
    """Return the common area relative to the smaller box."""
    common = (max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    return _area(common) / max(min(_area(a), _area(b)), 1)


def _model_folder() -> Path:
    spec = importlib.util.find_spec("face_recognition_models")
    return Path(spec.submodule_search_locations[0]) / "models" if spec and spec.submodule_search_locations else Path()


class _DlibReader:
    def __init__(self) -> None:
        self._dlib: Any = importlib.import_module("dlib")
        self._detector = self._dlib.get_frontal_face_detector()
        self._landmarks = self._dlib.shape_predictor(str(_model_folder() / LANDMARKS))
        self._network = self._dlib.face_recognition_model_v1(str(_model_folder() / EMBEDDING))

    def find(self, image: Image) -> list[Box]:
        return [(box.left(), box.top(), box.right(), box.bottom()) for box in self._detector(image, 0)]

    def embed(self, image: Image, box: Box) -> Embedding:
        landmarks = self._landmarks(image, self._dlib.rectangle(*box))
        chip = self._dlib.get_face_chip(image, landmarks, size=150)
        return np.array(self._network.compute_face_descriptor(chip))


@cache
def _dlib_reader() -> FaceReader:
    if why := explain_missing():
        raise ConfigError(why)
    return _DlibReader()
