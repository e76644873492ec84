"""Scores: what is measured on pairs of lq and candidate gt. Facts without a threshold; verdict.py has those.

    for score in score([(candidate.id, lq, gt)], ["core"]): ...

Core metrics need OpenCV (witnesses.py); the others come from pyiqa (iqa.py), extra `quality`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches

from ggt_tools import iqa, records, witnesses
from ggt_tools.degradations import Image, opencv
from ggt_tools.errors import ConfigError, PairError

SETS: dict[str, tuple[str, ...]] = {
    "core": tuple(witnesses.CORE),
    "weight-free": iqa.WEIGHT_FREE,
    "offline": (*iqa.WEIGHT_FREE, *iqa.SHIPPED_WEIGHTS),
}
METRICS: tuple[str, ...] = tuple(sorted({*witnesses.CORE, *SETS["offline"]}))

Measure = Callable[[witnesses.Pair], float]


def score(pairs: Iterable[tuple[str, Image, Image]], metrics: Sequence[str]) -> Iterator[records.Score]:
    """Measure (candidate's id, lq, gt) pairs, both uint8 RGB (height, width, 3), by metrics or sets of them.

    Pairs one after the other, each alone: some models give other values in other batches. Models stay loaded for the
    life of the process. Raises ConfigError before the first pair (unknown metric, missing package or weights), and
    PairError `size_differs` or `too_small` at a pair: to go on with the others, call it again with them.
    """
    measures = _measures(metrics)
    return _scored(pairs, measures)


def _scored(
    pairs: Iterable[tuple[str, Image, Image]], measures: dict[str, tuple[str, Measure]]
) -> Iterator[records.Score]:
    for candidate, lq, gt in pairs:
        if lq.shape != gt.shape:
            raise PairError("size_differs", f"{candidate}: lq is {_size(lq)} and gt {_size(gt)}; align them first")
        if min(lq.shape[:2]) < 32:
            raise PairError("too_small", f"{candidate}: {_size(lq)}; scoring needs 32 px on each side")
        pair = witnesses.Pair(lq, gt)
        for name, (version, measure) in measures.items():
            yield records.Score(candidate=candidate, metric=name, metric_version=version, value=measure(pair))


def expand(metrics: Sequence[str]) -> tuple[str, ...]:
    """Names of metrics for names of metrics and sets, each once; ConfigError with near names for an unknown one."""
    names: dict[str, None] = {}
    for name in metrics:
        if name not in SETS and name not in METRICS:
            near = get_close_matches(name, [*SETS, *METRICS], n=3)
            hint = f"near: {', '.join(near)}" if near else f"sets: {', '.join(SETS)}; metrics: {', '.join(METRICS)}"
            raise ConfigError(f"no metric or set is named {name!r}; {hint}")
        names.update(dict.fromkeys(SETS.get(name, (name,))))
    return tuple(names)


def versions(metrics: Sequence[str]) -> dict[str, str]:
    """The version each metric of these metrics and sets would be measured with; ConfigError as in score()."""
    return {name: version for name, (version, _) in _measures(metrics).items()}


def available() -> list[tuple[str, bool, str]]:
    """Each metric, whether it can be measured here and now, and why not. Nothing is downloaded or loaded."""
    try:
        opencv()
        core = ""
    except ConfigError as error:
        core = str(error)
    rows = [(name, core == "", core) for name in witnesses.CORE]
    rows += [(name, why == "", why) for name, why in ((name, iqa.missing(name)) for name in SETS["offline"])]
    return rows


def _measures(metrics: Sequence[str]) -> dict[str, tuple[str, Measure]]:
    measures: dict[str, tuple[str, Measure]] = {}
    for name in expand(metrics):
        if name in witnesses.CORE:
            opencv()
            measures[name] = (witnesses.VERSION, witnesses.CORE[name])
        elif why := iqa.missing(name):
            raise ConfigError(f"metric {name!r} cannot be measured: {why}")
        else:
            measures[name] = (iqa.version(name), iqa.metric(name))
    return measures


def _size(image: Image) -> str:
    return f"{image.shape[1]} x {image.shape[0]} px"
