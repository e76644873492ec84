"""Name the classes of photographs by the classifier, and keep a fact of each that tells the classifier's version."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ggt_format.schema import pair_key
from ggt_tools.imaging import photo_classes
from ggt_tools.imaging.degradations import classify, measure
from ggt_tools.records import Classed

UNSURE = " unsure"  # ends the version of a fact where no class was certain


class ClassNamer:
    """Names the class of each photograph by the classifier, by measuring where the classifier cannot run.

    It is called from several threads. `reason` says why the classifier cannot run; "" where it can.
    """

    def __init__(self, reason: str | None = None) -> None:
        self.reason = photo_classes.missing() if reason is None else reason
        self._facts: dict[str, Classed] = {}

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> tuple[str, tuple[str, ...]]:
        """The class and all that is seen, the class first. Raises PairError `too_small`."""
        if self.reason:
            return classify(measure(pixels))
        named = photo_classes.classify_photo(pixels)
        key = pair_key(pixels)
        version = photo_classes.version() + (UNSURE if named.unsure else "")
        self._facts[key] = Classed(key=key, version=version, degradations=named.seen)
        return named.name, named.seen

    def take_fact(self, key: str) -> tuple[Classed, ...]:
        """Return the fact of a photograph that was named, once; nothing where it was not."""
        fact = self._facts.pop(key, None)
        return () if fact is None else (fact,)
