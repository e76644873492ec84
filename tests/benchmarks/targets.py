"""Compare the measurements of a run with the targets."""

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
        longest = f"at most {max(count / 500_000, 0.5):.1f}"
        rows.append([f"index of {count:,} rows: first open, s", figure(taken["seconds"]), "", longest])
    return table(["ours", "one core", "2 workers", "to be reached"], rows)


def _against_peers(crops: dict[Condition, Seconds]) -> Iterator[list[str]]:
    peers = {
        "": "the best peer as it ships",
        FAST: "webdataset with the fastest decoder",
        BOUND: "the pure bound",
    }
    for codec, crop, goals in (
        ("png", 256, {"": "9", FAST: "6", BOUND: "0.80"}),
        ("png", 512, {"": "5", FAST: "3", BOUND: "0.75"}),
        ("png", 0, {"": "2.2", FAST: "1.3", BOUND: "0.65"}),
        ("jpeg", 256, {"": "8", FAST: "8"}),
        ("jpeg", 0, {"": "1.0", FAST: "1.0"}),
    ):
        for peer, least in goals.items():
            label = f"{f'{crop} crops' if crop else 'whole pairs'}, {codec.upper()}, against {peers[peer]}"
            reached = [_least(crops.get((codec, crop, workers), {}), peer) for workers in (0, 2)]
            share = f" ({figure(reached[1] / reached[0])} of one core's)" if reached[0] and reached[1] else ""
            yield [
                label,
                figure(reached[0]),
                figure(reached[1]) + share,
                f"at least {least}, and 0.9 of it by 2 workers",
            ]


def _least(seconds: Seconds, peer: str) -> float | None:
    """Times as fast as the peer that is named, or as the fastest of those that run as they ship."""
    names = [peer] if peer else [name for name in seconds if name not in (OURS, BOUND, FAST)]
    ratios = [found for name in names if (found := ratio(seconds, name)) is not None]
    return min(ratios, default=None)
