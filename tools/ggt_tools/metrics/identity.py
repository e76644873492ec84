"""The metric of who a face shows: an embedding of each face in lq and gt, and how far both lie apart.

The extra `faces` installs dlib-bin (dlib under the Boost licence) and face-recognition-models, which contains Davis
King's networks in the public domain (CC0). Used of them: the 5 landmarks and the 128 values of the face recognition
network (dlib_face_recognition_resnet_model_v1), for which two pictures of one person lie less than about 0.6 apart.
Faces are found by dlib's detector of oriented gradients (Dalal, Triggs, CVPR 2005; King, 2015), frontal and from about
70 px on. Nothing is downloaded.
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
LONG_EDGE = 1600  # px at most when faces are looked for
MOST_FACES = 8  # the largest ones, since each takes a quarter of a second
SAME_FACE = 0.5  # share of the smaller box within the other: one face, found in both pictures
Box = tuple[int, int, int, int]  # left, top, right, bottom
Embedding = npt.NDArray[np.float64]


class FaceReader(Protocol):
    """Finds faces, and tells who they show."""

    def find(self, image: Image) -> list[Box]:
        """The faces in a uint8 RGB picture."""

    def embed(self, image: Image, box: Box) -> Embedding:
        """What the face in the box looks like, free of pose, light and size as far as the network is."""


def face_distance(pair: Pair) -> float:
    """Distance of the embeddings of a face in lq and gt, of the face that changed most; 0 where none is found.

    Faithful restorations of real portraits measure 0.1 to 0.4, another person 0.6 and more.
    """
    return pair.computed(_compute_distance)


METRICS: dict[str, Callable[[Pair], float]] = {"face_distance": face_distance}


def compare_faces(lq: Image, gt: Image, reader: FaceReader) -> float:
    """The largest distance of a face that is found in lq or gt, looked at in both at the same place."""
    faces = reader.find(gt)
    faces += [box for box in reader.find(lq) if all(_overlap(box, face) < SAME_FACE for face in faces)]
    largest = sorted(faces, key=_area, reverse=True)[:MOST_FACES]
    distances = [np.linalg.norm(reader.embed(lq, box) - reader.embed(gt, box)) for box in largest]
    return float(max(distances, default=0.0))


def missing() -> str:
    """Why faces cannot be compared here; "" where they can. Nothing is loaded."""
    for module, package in (("dlib", "dlib-bin"), ("face_recognition_models", "face-recognition-models")):
        if importlib.util.find_spec(module) is None:
            return f"{package} is not installed: pip install 'ggt100k[faces]'"
    absent = [name for name in (LANDMARKS, EMBEDDING) if not (_model_folder() / name).is_file()]
    return f"{absent[0]} is missing from face-recognition-models: install it again" if absent else ""


def _compute_distance(pair: Pair) -> float:
    lq, gt = (np.ascontiguousarray(resize_to(image, LONG_EDGE)) for image in (pair.lq, pair.gt))
    return compare_faces(lq, gt, _dlib_reader())


def _area(box: Box) -> int:
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def _overlap(one: Box, other: Box) -> float:
    """Common area over the smaller of both."""
    common = (max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3]))
    return _area(common) / max(min(_area(one), _area(other)), 1)


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
    if why := missing():
        raise ConfigError(why)
    return _DlibReader()
