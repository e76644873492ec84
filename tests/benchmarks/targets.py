"""What is to be reached, held against the measurements of the same run."""

from __future__ import annotations

from collections.abc import Iterator

from .crops import Condition, ratio
from .field import BOUND, FAST, OURS, Seconds, figure, table
from .topics import Figures

MB = 1e6


def report(
    crops: dict[Condition, Seconds],
    one_class: Figures | None,
    cut_off: Figures | None,
    memory: dict[int, dict[str, float]],
) -> str:
    rows = list(_against_peers(crops))
    if one_class:
        read = f"{one_class.class_ratio:.3f}"
        rows.append(["one class of six: bytes read over bytes wanted", read, "", "at most 1.05"])
    if cut_off:
        label = f"cut off at 80 %: read again, MB (a batch: {cut_off.batch / MB:.1f})"
        rows.append([label, figure(cut_off.again / MB), "", "at most a batch"])
    for count, taken in memory.items():
        most = ("at most 200", "at most 30") if count == 1_000_000 else ("", "")
        rows.append([f"index of {count:,} rows: shared, MB", figure(taken["shared"] / MB), "", most[0]])
        rows.append([f"index of {count:,} rows: a further worker, MB", figure(taken["worker"] / MB), "", most[1]])
    return table(["ours", "one core", "2 workers", "to be reached"], rows)


def _against_peers(crops: dict[Condition, Seconds]) -> Iterator[list[str]]:
    shipped = "the best peer as it ships"
    for label, codec, crop, peer, least in (
        (f"256 crops, PNG, against {shipped}", "png", 256, "", "9"),
        ("256 crops, PNG, against webdataset with the fastest decoder", "png", 256, FAST, "4"),
        (f"256 crops, JPEG, against {shipped}", "jpeg", 256, "", "8"),
        (f"whole pairs, PNG, against {shipped}", "png", 0, "", "2"),
        (f"512 crops, PNG, against {shipped}", "png", 512, "", "5"),
        ("256 crops, PNG, against the pure bound", "png", 256, BOUND, "0.6"),
    ):
        reached = [figure(_least(crops.get((codec, crop, workers), {}), peer)) for workers in (0, 2)]
        yield [label, *reached, f"at least {least}"]


def _least(seconds: Seconds, peer: str) -> float | None:
    """Times as fast as the peer that is named, or as the fastest of those that run as they ship."""
    names = [peer] if peer else [name for name in seconds if name not in (OURS, BOUND, FAST)]
    ratios = [found for name in names if (found := ratio(seconds, name)) is not None]
    return min(ratios, default=None)
