"""What an executor runs for `score`: a worker measures the missing metrics of candidates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib.util import find_spec
from itertools import groupby, islice

import ggt_format
from ggt_format.schema import Image
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.executors.task import Perform
from ggt_tools.imaging.planes import opencv
from ggt_tools.metrics.iqa import IqaConfig
from ggt_tools.metrics.scorer import OWN, Scorer, StoredCandidates
from ggt_tools.records import Score, work_id
from ggt_tools.workspace.arrow import WorkFailure
from ggt_tools.workspace.ledger import ImageFolder
from ggt_tools.workspace.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreWork:
    """A candidate, and the metrics that it lacks."""

    key: str
    candidate: str
    lq: str  # SHA-256 of the photograph's file
    gt: str  # of the candidate's, as it was aligned
    width: int
    height: int
    metrics: tuple[tuple[str, str], ...]  # name and version

    @property
    def id(self) -> str:
        return work_id(self.key, self.candidate, self.gt, *(f"{name} {version}" for name, version in self.metrics))

    @property
    def subject(self) -> str:
        return f"candidate {self.candidate}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """score. `versions`: of the metrics, as the ledger is to have them."""

    versions: tuple[tuple[str, str], ...]
    config: IqaConfig
    name: str = "score"

    @property
    def gpu(self) -> bool:
        return self.config.device in ("auto", "cuda") and any(metric not in OWN for metric, _ in self.versions)

    def ready(self, store: Store) -> Perform:
        if find_spec("cv2") is not None:
            opencv().setNumThreads(1)  # the other cores have a process each
        scorer = Scorer([metric for metric, _ in self.versions], self.config)
        for metric, version in self.versions:
            if scorer.versions[metric] != version:
                raise ConfigError(
                    f"metric {metric!r}: a worker has version {scorer.versions[metric]!r}, and this machine has "
                    f"{version!r}. Install the same versions."
                )
        return self.performing(scorer, store)

    @staticmethod
    def performing(scorer: Scorer, store: Store) -> Perform:
        """What ready() gives, of a scorer that is there."""
        images = ImageFolder(store)

        @lru_cache(maxsize=1)  # the candidates of a photograph follow each other, and share what is computed of it
        def load_lq(name: str, key: str) -> Image:
            return ggt_format.decode_image(images.image(name), key)

        def perform(works: Sequence[ScoreWork]) -> Iterator[Score | WorkFailure]:
            if scorer.is_on_gpu:
                yield from _perform_on_gpu(scorer, works, images)
                works = [_only_own(work) for work in works if any(metric in OWN for metric, _ in work.metrics)]
            for some in _batches(works, scorer.batch):
                wanted = [metric for metric, _ in some[0].metrics]
                pairs = [
                    (
                        work.candidate,
                        load_lq(work.lq, work.key),
                        ggt_format.decode_image(images.image(work.gt), work.key),
                    )
                    for work in some
                ]
                try:
                    yield from scorer.score(pairs, wanted)
                except PairError:
                    for work, pair in zip(some, pairs, strict=True):  # one by one: the others of the batch are good
                        try:
                            yield from scorer.score([pair], wanted)
                        except PairError as fault:
                            yield WorkFailure(
                                work=work.id, subject=work.subject, reason=fault.reason, detail=str(fault)
                            )

        return perform


def load_pair(images: ImageFolder, key: str, lq: str, gt: str) -> tuple[Image, Image]:
    """Return the photograph and the candidate of these names, uint8 RGB (height, width, 3)."""
    return ggt_format.decode_image(images.image(lq), key), ggt_format.decode_image(images.image(gt), key)


def _perform_on_gpu(scorer: Scorer, works: Sequence[ScoreWork], images: ImageFolder) -> Iterator[Score | WorkFailure]:
    """Yield the scores of works by metrics of pyiqa; the process of the models loads the images."""
    by_candidate = {work.candidate: work for work in works}
    batches = []
    for some in _batches(works, scorer.batch):
        metrics = tuple(metric for metric, _ in some[0].metrics if metric not in OWN)
        if metrics:
            loads = tuple(partial(load_pair, images, work.key, work.lq, work.gt) for work in some)
            batches.append(StoredCandidates(tuple(work.candidate for work in some), loads, metrics))
    for each in scorer.score_stored(batches) if batches else ():
        if isinstance(each, Score):
            yield each
            continue
        candidate, fault = each
        work = by_candidate[candidate]
        yield WorkFailure(work=work.id, subject=work.subject, reason=fault.reason, detail=str(fault))


def _only_own(work: ScoreWork) -> ScoreWork:
    """Return a work with our own metrics alone."""
    return replace(work, metrics=tuple(each for each in work.metrics if each[0] in OWN))


def split_for_gpu(works: Sequence[ScoreWork]) -> tuple[list[ScoreWork], list[ScoreWork]]:
    """Return the works of our own metrics, and those of pyiqa's metrics sorted by the size of their images.

    So that processes for all cores measure the first, and a process for each GPU the second, in full batches.
    """
    own = [_only_own(work) for work in works if any(metric in OWN for metric, _ in work.metrics)]
    others = [
        replace(work, metrics=tuple(each for each in work.metrics if each[0] not in OWN))
        for work in works
        if any(metric not in OWN for metric, _ in work.metrics)
    ]
    return own, sorted(others, key=lambda work: (work.metrics, work.width, work.height))


def _batches(works: Sequence[ScoreWork], most: int) -> Iterator[list[ScoreWork]]:
    """Neighbours of one size that want the same metrics, at most so many."""
    for _, some in groupby(works, lambda work: (work.metrics, work.width, work.height)):
        while part := list(islice(some, most)):
            yield part
