"""Scores: what is measured on pairs of lq and candidate gt. Facts without a threshold; policy/ has those.

    for score in score([(candidate.id, lq, gt)], ["core"]): ...

Our own metrics need OpenCV and onnxruntime, extra `generate`; the others come from pyiqa (iqa/), extra `quality`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from types import TracebackType

from ggt_format.schema import Image
from ggt_tools import records
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.imaging.planes import opencv
from ggt_tools.metrics import changes, fidelity, identity, iqa, light, regions, text
from ggt_tools.metrics import core as core_metrics
from ggt_tools.metrics.iqa import weights

CORE = {**core_metrics.CORE, **light.METRICS, **changes.METRICS, **fidelity.METRICS}
OWN = {**CORE, **regions.METRICS, **text.METRICS, **identity.METRICS}
_FREE = ("psnr", "ssim", "gmsd", "vsi", "nlpd", *iqa.names("piqe"))
SETS: dict[str, tuple[str, ...]] = {
    "core": tuple(CORE),
    "regions": tuple(regions.METRICS),
    "text": tuple(text.METRICS),
    "faces": tuple(identity.METRICS),
    "weight-free": _FREE,
    "offline": (*_FREE, "stlpips", *iqa.names("niqe")),
    # those that the field reports most; none of their weights ships with a wheel
    "default": (
        *("lpips", "dists", "topiq_fr"),
        *(name for model in ("musiq", "maniqa", "clipiqa+", "topiq_nr", "liqe") for name in iqa.names(model)),
    ),
}
SETS["full"] = (*SETS["default"], "stlpips", "afine_fr", *iqa.names("afine_nr"))  # what the gate `full` asks for
METRICS: tuple[str, ...] = tuple(sorted({*OWN, *iqa.all_names()}))
Pairs = Sequence[tuple[str, Image, Image]]  # candidate's id, lq, gt


def score(pairs: Iterable[tuple[str, Image, Image]], metrics: Sequence[str]) -> Iterator[records.Score]:
    """Measure (candidate's id, lq, gt) pairs, both uint8 RGB (height, width, 3), by metrics or sets of them.

    Pairs one after the other, each alone. Raises ConfigError before the first pair (unknown metric, missing package or
    weights), and PairError `size_differs`, `too_small` or `not_measured` at a pair. To go on with the others, and for
    several at a time, use a Scorer.
    """
    scorer = Scorer(metrics)
    return _all(scorer, pairs)


def _all(scorer: Scorer, pairs: Iterable[tuple[str, Image, Image]]) -> Iterator[records.Score]:
    with scorer:
        for pair in pairs:
            yield from scorer.score([pair])


class Scorer:
    """Metrics made ready, with their models loaded: `with Scorer(["core"]) as scorer: scorer.score(pairs)`.

    Raises ConfigError as score() does. `versions`: of each metric, as the scores have it. `left_out`: the metrics of a
    set that cannot be measured here, each with the reason. `batch`: so many pairs at a time make sense.
    """

    def __init__(self, metrics: Sequence[str], config: iqa.IqaConfig | None = None) -> None:
        self.metrics = expand(metrics)
        own = [name for name in self.metrics if name in OWN]
        others = [name for name in self.metrics if name not in OWN]
        if own:
            opencv()
        config = config or iqa.IqaConfig()
        self.left_out = self._left_out(metrics, config)
        self.metrics = tuple(name for name in self.metrics if name not in self.left_out)
        own = [name for name in own if name not in self.left_out]
        others = [name for name in others if name not in self.left_out]
        self._models = iqa.Models(others, config)
        self.batch = self._models.batch
        self.versions = {name: _version(name) for name in own}
        self.versions |= {name: self._models.versions[name] for name in others}

    def _left_out(self, asked: Sequence[str], config: iqa.IqaConfig) -> dict[str, str]:
        """The metrics that cannot be measured here, each with the reason.

        Only sets leave metrics out: a metric that is asked for by its name has to run, and so has all of `core`, which
        the gate needs. Raises ConfigError where one of these cannot, or nothing is left.
        """
        reasons = {name: _missing(name) if name in OWN else iqa.missing(name, config.weights) for name in self.metrics}
        absent = {name: why for name, why in reasons.items() if why}
        needed = {*(name for name in asked if name not in SETS), *(CORE if "core" in asked else ())}
        for name, why in absent.items():
            if name in needed or len(absent) == len(self.metrics):
                raise ConfigError(f"metric {name!r} cannot be measured: {why}")
        return absent

    def __enter__(self) -> Scorer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._models.close()

    def score(self, pairs: Pairs, wanted: Sequence[str] | None = None) -> list[records.Score]:
        """The scores of pairs of one size, by pair and then by metric; `wanted` of the metrics, else all."""
        names = self.metrics if wanted is None else tuple(name for name in self.metrics if name in wanted)
        for candidate, lq, gt in pairs:
            if lq.shape != gt.shape:
                raise PairError("size_differs", f"{candidate}: lq is {_size(lq)} and gt {_size(gt)}; align them first")
            if min(lq.shape[:2]) < 32:
                raise PairError("too_small", f"{candidate}: {_size(lq)}; scoring needs 32 px on each side")
        others = [name for name in names if name not in OWN]
        measured = self._models.measure([(lq, gt) for _, lq, gt in pairs], others)
        found = []
        for place, (candidate, lq, gt) in enumerate(pairs):
            pair = core_metrics.Pair(lq, gt)
            for name in names:
                value = OWN[name](pair) if name in OWN else measured[name][place]
                found.append(
                    records.Score(
                        candidate=candidate, metric=name, metric_version=self.versions[name], value=float(value)
                    )
                )
        return found


def expand(metrics: Sequence[str]) -> tuple[str, ...]:
    """Names of metrics for names of metrics and sets, each once; ConfigError with near names for an unknown one."""
    names: dict[str, None] = {}
    for name in metrics:
        if name not in SETS and name not in METRICS:
            near = get_close_matches(name, [*SETS, *METRICS], n=3)
            hint = f"near: {', '.join(near)}" if near else f"sets: {', '.join(SETS)}; `score --list` names all"
            raise ConfigError(f"no metric or set is named {name!r}; {hint}")
        names.update(dict.fromkeys(SETS.get(name, (name,))))
    return tuple(names)


def available() -> list[tuple[str, bool, str]]:
    """Each metric of the sets, whether it can be measured here and now, and why not. Nothing is fetched.

    Models are made to tell: that takes seconds.
    """
    try:
        opencv()
        core = ""
    except ConfigError as fault:
        core = str(fault)
    absent = {name: core or _missing(name) for name in OWN}
    rows = [(name, why == "", why) for name, why in absent.items()]
    models = dict.fromkeys(iqa.model_of(name) for name in (*SETS["offline"], *SETS["full"]))
    rows += [(name, why == "", why) for model, why in iqa.faults(list(models)).items() for name in iqa.names(model)]
    return rows


def licence(name: str) -> str:
    """Return the licences of a metric of pyiqa and of its weights, as `score --list` shows them; "" for our own."""
    if name in OWN:
        return ""
    return f" [pyiqa: {weights.PYIQA_LICENCE}; weights: {weights.licence_of(iqa.model_of(name))}]"


def _missing(name: str) -> str:
    """Why one of our own metrics cannot be measured here; "" where it can."""
    if name in fidelity.METRICS:
        return fidelity.missing()
    if name in text.METRICS:
        return text.missing()
    return identity.missing() if name in identity.METRICS else regions.missing(name)


def _version(name: str) -> str:
    if name in fidelity.METRICS:
        return fidelity.version()
    if name in text.METRICS:
        return text.version()
    if name in identity.METRICS:
        return identity.VERSION
    return regions.VERSION if name in regions.METRICS else core_metrics.VERSION


def _size(image: Image) -> str:
    return f"{image.shape[1]} x {image.shape[0]} px"
