"""Name the classes of photographs by the classifier, and keep a fact of each with the classifier's version."""

from __future__ import annotations

from ggt_format.schema import Image, pair_key
from ggt_tools.imaging import photo_classes
from ggt_tools.imaging.degradations import classify, measure
from ggt_tools.records import PhotoClass

UNSURE = " unsure"  # ends the version of a fact whose class is not certain


class ClassNamer:
    """Names the class of each photograph by the classifier, or by measuring where the classifier cannot run.

    Several threads may call it.

    Attributes:
        reason: Why the classifier cannot run; "" where it can.
    """

    def __init__(self, reason: str | None = None) -> None:
        self.reason = photo_classes.explain_missing() if reason is None else reason
        self._facts: dict[str, PhotoClass] = {}

    def __call__(self, pixels: Image) -> tuple[str, tuple[str, ...]]:
        """Return the class, and all degradations that are seen, the class first.

        Raises:
            PairError: `too_small`.
        """
        if self.reason:
            return classify(measure(pixels))
        result = photo_classes.classify_photo(pixels)
        key = pair_key(pixels)
        version = photo_classes.version() + (UNSURE if result.unsure else "")
        self._facts[key] = PhotoClass(key=key, version=version, degradations=result.seen)
        return result.name, result.seen

    def take_fact(self, key: str) -> tuple[PhotoClass, ...]:
        """Return the fact of a photograph that was named, once; an empty tuple where it was not."""
        fact = self._facts.pop(key, None)
        return () if fact is None else (fact,)
