"""What an executor runs for `score`: a worker measures the missing metrics of candidates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby, islice
from typing import TYPE_CHECKING

import ggt_format
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.executors.task import Perform
from ggt_tools.imaging.planes import opencv
from ggt_tools.metrics.iqa import IqaConfig
from ggt_tools.metrics.scorer import OWN, Scorer
from ggt_tools.records import Score, work_id
from ggt_tools.workspace.arrow import WorkFailure
from ggt_tools.workspace.ledger import ImageFolder
from ggt_tools.workspace.store import Store

if TYPE_CHECKING:
    pass


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
        return self.config.device != "cpu" and any(metric not in OWN for metric, _ in self.versions)

    def ready(self, store: Store) -> Perform:
        if find_spec("cv2") is not None:
            opencv().setNumThreads(1)  # the other cores have a process each
        scorer = Scorer([metric for metric, _ in self.versions], self.config)
        for metric, version in self.versions:
            if scorer.versions[metric] != version:
                raise ConfigError(
                    f"metric {metric!r}: is of version {scorer.versions[metric]!r} where a worker runs and of "
                    f"{version!r} where the ledger is; install the same there"
                )
        return self.performing(scorer, store)

    @staticmethod
    def performing(scorer: Scorer, store: Store) -> Perform:
        """What ready() gives, of a scorer that is there."""
        images = ImageFolder(store)

        def perform(works: Sequence[ScoreWork]) -> Iterator[Score | WorkFailure]:
            for some in _batches(works, scorer.batch):
                wanted = [metric for metric, _ in some[0].metrics]
                pairs = [
                    (
                        work.candidate,
                        ggt_format.decode_image(images.image(work.lq), work.key),
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


def _batches(works: Sequence[ScoreWork], most: int) -> Iterator[list[ScoreWork]]:
    """Neighbours of one size that want the same metrics, at most so many."""
    for _, some in groupby(works, lambda work: (work.metrics, work.width, work.height)):
        while part := list(islice(some, most)):
            yield part
