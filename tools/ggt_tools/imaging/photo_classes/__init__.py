"""Classify the degradation of a photograph from pretrained features, without a download and without torch.

    named = classify_photo(pixels)
    named.name, named.probability, named.unsure

The classifier was trained on synthetic degradations and some free real photographs (ggt_tools.training). If it is
unsure, the measured class of degradations.py is used, provided that the classifier considers it possible. Without
onnxruntime, only the measured class is available.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ggt_format.schema import Image
from ggt_tools.errors import ConfigError
from ggt_tools.imaging.degradations import classify, measure
from ggt_tools.imaging.photo_classes.features import BACKBONE_SHA256, backbone_missing, describe
from ggt_tools.imaging.photo_classes.head import Head, load_head

HEAD = Path(__file__).with_name("head.npz")
HEAD_SHA256 = "1f610b771075a7faed75256022b8edc397d2eba019f45030b056fd3596599665"
SURE = 0.25  # lowest probability at which the likeliest of the twelve classes is taken
SURE_MIXED = 0.5  # the same for `mixed`, the class of photographs without a clear degradation
POSSIBLE = 0.15  # lowest probability of the measured class at which it is taken if the classifier is unsure
FEATURES_VERSION = 1  # of describe()


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedClass:
    """The class of one photograph.

    Attributes:
        name: The class, one of ggt100k.DEGRADATIONS.
        probability: Probability of that class, 0..1.
        unsure: Whether no class reached SURE, or `mixed` did not reach SURE_MIXED, so that the measured class or
            `mixed` was taken.
        probabilities: Each class with its probability, the likeliest first.
        seen: The class, then the other degradations that were measured.
    """

    name: str
    probability: float
    unsure: bool
    probabilities: tuple[tuple[str, float], ...]
    seen: tuple[str, ...]


def classify_photo(image: Image) -> NamedClass:
    """Classify a photograph.

    Args:
        image: uint8 RGB (height, width, 3), at least 32 px on each side.

    Raises:
        PairError: `too_small`.
        ConfigError: onnxruntime, OpenCV or a file of the classifier is missing.
    """
    measured, seen = classify(measure(image))
    head = _head()
    chances = head.probabilities(describe(image)[None])[0]
    return decide(dict(zip(head.names, chances.tolist(), strict=True)), measured, seen)


def decide(chances: Mapping[str, float], measured: str, seen: Sequence[str]) -> NamedClass:
    """Choose a class.

    Args:
        chances: Probability of each class.
        measured: The measured class.
        seen: All degradations that were measured.
    """
    probabilities = tuple(sorted(((name, round(p, 4)) for name, p in chances.items()), key=lambda item: -item[1]))
    name, probability = probabilities[0]
    unsure = probability < (SURE_MIXED if name == "mixed" else SURE)
    if unsure:
        name = measured if chances.get(measured, 0.0) >= POSSIBLE else "mixed"
    return NamedClass(
        name=name,
        probability=round(chances.get(name, 0.0), 4),
        unsure=unsure,
        probabilities=probabilities,
        seen=(name, *(other for other in seen if other != name)),
    )


def explain_missing() -> str:
    """Return why the classifier cannot run here, "" if it can, without loading anything."""
    return backbone_missing() or ("" if HEAD.is_file() else f"{HEAD.name} is missing. Install ggt100k again.")


def version() -> str:
    """Return the version of the features, the network and the head, as facts record it."""
    return f"classifier-{FEATURES_VERSION} {BACKBONE_SHA256[:8]}-{HEAD_SHA256[:8]}"


@cache
def _head() -> Head:
    if reason := explain_missing():
        raise ConfigError(f"the classifier of photographs: {reason}")
    if hashlib.sha256(HEAD.read_bytes()).hexdigest() != HEAD_SHA256:
        raise ConfigError(f"{HEAD}: its SHA-256 is not the one that this version expects. Install ggt100k again.")
    return load_head(HEAD)
