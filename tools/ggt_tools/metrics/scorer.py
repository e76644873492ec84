"""Scores of pairs of lq and candidate gt. They are facts without thresholds, which are in policy/.

    for score in score([(candidate.id, lq, gt)], ["core"]): ...

Metrics of this package need OpenCV and onnxruntime (extra `generate`); all others are metrics of pyiqa (iqa/, extra
`quality`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import TracebackType

import numpy as np

from ggt_format.schema import Image
from ggt_tools import records
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.imaging.planes import opencv
from ggt_tools.metrics import changes, fidelity, identity, iqa, light, regions, text
from ggt_tools.metrics import core as core_metrics
from ggt_tools.metrics.iqa import weights
from ggt_tools.processes import single_threaded_blas

CORE = {**core_metrics.CORE, **light.METRICS, **changes.METRICS, **fidelity.METRICS}
OWN = {**CORE, **regions.METRICS, **text.METRICS, **identity.METRICS}
_FREE = ("psnr", "ssim", "gmsd", "vsi", "nlpd", *iqa.metric_names("piqe"))
SETS: dict[str, tuple[str, ...]] = {
    "core": tuple(CORE),
    "regions": tuple(regions.METRICS),
    "text": tuple(text.METRICS),
    "faces": tuple(identity.METRICS),
    "weight-free": _FREE,
    "offline": (*_FREE, "stlpips", *iqa.metric_names("niqe")),
    # the metrics that papers report most; no wheel contains their weights
    "default": (
        *("lpips", "dists", "topiq_fr"),
        *(name for model in ("musiq", "maniqa", "clipiqa+", "topiq_nr", "liqe") for name in iqa.metric_names(model)),
    ),
}
SETS["full"] = (
    *SETS["default"],
    "stlpips",
    "afine_fr",
    *iqa.metric_names("afine_nr"),
)  # the metrics of the gate `full`
METRICS: tuple[str, ...] = tuple(sorted({*OWN, *iqa.all_metric_names()}))
Pairs = Sequence[tuple[str, Image, Image]]  # id of the candidate, lq, gt


def score(pairs: Iterable[tuple[str, Image, Image]], metrics: Sequence[str]) -> Iterator[records.Score]:
    """Measure pairs one after the other. To continue after an error, or to measure several at a time, use a Scorer.

    Args:
        pairs: (id of the candidate, lq, gt), both images uint8 RGB (height, width, 3).
        metrics: Names of metrics or sets.

    Raises:
        ConfigError: A metric is unknown, or its package or weights are missing. Raised before the first pair.
        PairError: `size_differs`, `too_small` or `not_measured`.
    """
    scorer = Scorer(metrics)
    return _all(scorer, pairs)


def _all(scorer: Scorer, pairs: Iterable[tuple[str, Image, Image]]) -> Iterator[records.Score]:
    with scorer:
        for pair in pairs:
            yield from scorer.score([pair])


@dataclass(frozen=True, slots=True)
class StoredCandidates:
    """Candidates whose images are not loaded yet, and are of one size.

    Attributes:
        candidates: Their ids.
        loads: For each a function that can be pickled and returns lq and gt, uint8 RGB (height, width, 3).
        metrics: Metrics of pyiqa to measure.
    """

    candidates: tuple[str, ...]
    loads: tuple[Callable[[], tuple[Image, Image]], ...]
    metrics: tuple[str, ...]


class Scorer:
    """Metrics with loaded models: `with Scorer(["core"]) as scorer: scorer.score(pairs)`.

    Args:
        metrics: Names of metrics, or of sets such as "core".
        config: Device, weights and processes of pyiqa's models; None for the defaults.

    Attributes:
        metrics: tuple of str, the names of the metrics that are measured.
        versions: dict of str, the version of each metric by its name. Each score states it.
        left_out: dict of str, the reasons by the names of those metrics of a set that cannot be measured here.
        batch: int, the number of pairs to pass to score() at a time for the highest speed.
        is_on_gpu: bool, whether models run on a GPU, where score_stored() is faster than score().

    Raises:
        ConfigError: A metric is unknown, or its package or weights are missing.
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
        fidelity.use_device(config.device)
        self._models = iqa.Models(others, config)
        self.batch = self._models.batch
        self.is_on_gpu = self._models.is_on_gpu
        self._side = core_metrics.Side(np.zeros((0, 0, 3), np.uint8))
        self.versions = {name: _version(name) for name in own}
        self.versions |= {name: self._models.versions[name] for name in others}

    def _left_out(self, requested: Sequence[str], config: iqa.IqaConfig) -> dict[str, str]:
        """Return the metrics that cannot be measured on this machine, with the reasons.

        Only metrics of a set are left out. A metric that was requested by name must be measurable, and so must all of
        `core`, which the gate needs.

        Raises:
            ConfigError: A needed metric cannot be measured, or none is left.
        """
        reasons = {
            name: _explain_missing(name) if name in OWN else iqa.explain_missing(name, config.weights)
            for name in self.metrics
        }
        absent = {name: why for name, why in reasons.items() if why}
        needed = {*(name for name in requested if name not in SETS), *(CORE if "core" in requested else ())}
        for name, why in absent.items():
            if name in needed or len(absent) == len(self.metrics):
                raise ConfigError(f"metric {name!r} cannot be measured: {why}")
        return absent

    def __enter__(self) -> Scorer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_models()

    def close_models(self) -> None:
        """End the processes of the models and free their memory; `versions` stays."""
        self._models.close()

    def score_stored(self, batches: Sequence[StoredCandidates]) -> Iterator[records.Score | tuple[str, PairError]]:
        """Yield the scores of candidates by metrics of pyiqa, which the process of their models loads, on a GPU.

        Args:
            batches: The candidates.

        Yields:
            The scores of a candidate, or its id with the PairError that iqa.Models.measure_stored() gives for it.
        """
        measured = self._models.measure_stored([iqa.StoredPairs(batch.loads, batch.metrics) for batch in batches])
        for batch, pairs in zip(batches, measured, strict=True):
            for candidate, values in zip(batch.candidates, pairs, strict=True):
                if isinstance(values, PairError):
                    yield candidate, values
                    continue
                for name, value in values.items():
                    yield records.Score(
                        candidate=candidate, metric=name, metric_version=self.versions[name], value=value
                    )

    def score(self, pairs: Pairs, metrics: Sequence[str] | None = None) -> list[records.Score]:
        """Return the scores of pairs of the same size, by pair and then by metric.

        Args:
            pairs: (id of the candidate, lq, gt), both images uint8 RGB (height, width, 3).
            metrics: Names of some metrics of the Scorer; None for all.

        Raises:
            PairError: `size_differs`, `too_small` or `not_measured`.
        """
        names = self.metrics if metrics is None else tuple(name for name in self.metrics if name in metrics)
        for candidate, lq, gt in pairs:
            if lq.shape != gt.shape:
                raise PairError(
                    "size_differs", f"{candidate}: lq has {_size(lq)} and gt {_size(gt)}. Align the candidate first."
                )
            if min(lq.shape[:2]) < 32:
                raise PairError("too_small", f"{candidate}: has {_size(lq)}. Scoring needs 32 px on each side.")
        others = [name for name in names if name not in OWN]
        measured = self._models.measure([(lq, gt) for _, lq, gt in pairs], others)
        scores = []
        with single_threaded_blas():
            for number, (candidate, lq, gt) in enumerate(pairs):
                if lq is not self._side.image:  # the candidates of a photograph follow each other
                    self._side = core_metrics.Side(lq)
                pair = core_metrics.Pair(lq, gt, self._side)
                for name in names:
                    value = OWN[name](pair) if name in OWN else measured[name][number]
                    scores.append(
                        records.Score(
                            candidate=candidate, metric=name, metric_version=self.versions[name], value=float(value)
                        )
                    )
        return scores


def expand(metrics: Sequence[str]) -> tuple[str, ...]:
    """Replace the names of sets by those of their metrics, and remove duplicates.

    Raises:
        ConfigError: A name is unknown. The message proposes similar names.
    """
    names: dict[str, None] = {}
    for name in metrics:
        if name not in SETS and name not in METRICS:
            near = get_close_matches(name, [*SETS, *METRICS], n=3)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"The sets are: {', '.join(SETS)}."
            raise ConfigError(f"no metric or set is named {name!r}. {hint} List all metrics: ggt100k score --list")
        names.update(dict.fromkeys(SETS.get(name, (name,))))
    return tuple(names)


def available() -> list[tuple[str, bool, str]]:
    """List the metrics of the sets, and tell which of them can be measured on this machine.

    Models are loaded for this, which takes seconds. Nothing is downloaded.

    Returns:
        (name, is_measurable, reason) for each metric; `reason` says why it cannot be measured, and is "" if it can.
    """
    try:
        opencv()
        opencv_problem = ""
    except ConfigError as fault:
        opencv_problem = str(fault)
    absent = {name: opencv_problem or _explain_missing(name) for name in OWN}
    rows = [(name, why == "", why) for name, why in absent.items()]
    models = dict.fromkeys(iqa.model_of(name) for name in (*SETS["offline"], *SETS["full"]))
    rows += [
        (name, why == "", why)
        for model, why in iqa.explain_unavailable(list(models)).items()
        for name in iqa.metric_names(model)
    ]
    return rows


def licence(name: str) -> str:
    """Return the licences of pyiqa and of a metric's weights, for `score --list`; "" for metrics of this package."""
    if name in OWN:
        return ""
    pyiqa = weights.pyiqa_licence() or "not installed"
    return f" [pyiqa: {pyiqa}; weights: {weights.licence_of(iqa.model_of(name))}]"


def _explain_missing(name: str) -> str:
    """Return why a metric of this package cannot be measured on this machine; "" if it can."""
    if name in fidelity.METRICS:
        return fidelity.explain_missing()
    if name in text.METRICS:
        return text.explain_missing()
    return identity.explain_missing() if name in identity.METRICS else regions.explain_missing(name)


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
