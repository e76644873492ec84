"""Which pairs the test split holds, and that none of them, nor one that looks like it, is in train."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from pathlib import Path

from ggt_format.images import decode_image
from ggt_format.roots import Root
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.imaging.perceptual_hash import Looks, phash, published
from ggt_tools.records import Pair, Photo, Seen
from ggt_tools.stages.pack.writing import Images
from ggt_tools.workspace.ledger import write_whole

TEST = 500  # pairs of the test split, unless another number is asked for
STOOD = "packed.txt"  # of a workspace: the keys of what releases without a test split had, a line each
MOST = 10  # of so many pairs at most one is drawn, where a number was asked for and no share


def draw_test(photos: Sequence[Photo], test: float) -> frozenset[str]:
    """The keys of the test split: as many of each degradation and source as their share of all, the lowest keys.

    `test` of 1 and more is their number, and at most a tenth of all are drawn; below 1 it is their share. A key is a
    digest, so the lowest are as good as drawn by chance, and any other run draws the same.
    """
    count = min(int(test), len(photos) // MOST) if test >= 1 else int(test * len(photos))
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    for photo in photos:
        strata[photo.degradation, photo.source].append(photo.key)
    shares = {name: count * len(keys) / max(len(photos), 1) for name, keys in sorted(strata.items())}
    taken = {name: int(share) for name, share in shares.items()}
    left = count - sum(taken.values())  # largest remainder
    for name in sorted(shares, key=lambda name: (taken[name] - shares[name], min(strata[name])))[:left]:
        taken[name] += 1
    return frozenset(key for name, keys in strata.items() for key in sorted(keys)[: taken[name]])


def draw_new(
    chosen: Mapping[str, Pair],
    test: float | None,
    stood: Set[str],
    in_base: Set[str],
    images: Images,
    base: Root | None,
    looks: Mapping[str, str],
) -> frozenset[str]:
    """The keys of a test split that is drawn now. `test` is PackConfig's.

    What an earlier release had, those of the keys in `stood` and `in_base`, may have been trained on: neither that nor
    what looks like it is drawn. Raises ConfigError where that leaves some, and whether to draw of them was not said.
    """
    before = stood | in_base
    fresh = [pair for key, pair in chosen.items() if key not in before]
    if test is None and before and fresh:
        raise ConfigError(
            "--test: earlier releases had no test split, and models may be trained on the pairs that they had, so only "
            f"the {len(fresh)} new pairs can be drawn for one. Type --test 0.3 to draw a share of them, once for all "
            "later releases, or --test 0 to go on without a test split."
        )
    drawn = draw_test([pair.photo for pair in fresh], TEST if test is None else test)
    new: dict[str, list[Pair]] = {"train": [], "test": [pair for pair in fresh if pair.photo.key in drawn]}
    known = in_base | (stood & looks.keys())
    like = keep_apart(new, images, base, {"train": known, "test": ()}, looks)
    return drawn - like.keys()


def stood(workspace: Path) -> frozenset[str]:
    """The keys of what was packed of a workspace before it had a test split."""
    path = workspace / STOOD
    return frozenset(path.read_text("ascii", "replace").split()) if path.is_file() else frozenset()


def note_stood(workspace: Path, keys: Iterable[str]) -> None:
    """Adds to them, before a release has them: they may be trained on from then on."""
    there = stood(workspace)
    if more := {*keys} - there:
        write_whole(workspace / STOOD, "".join(f"{key}\n" for key in sorted(there | more)).encode())


def keep_apart(
    new: Mapping[str, Sequence[Pair]],
    images: Images,
    base: Root | None,
    standing: Mapping[str, Collection[str]],
    looks: Mapping[str, str],
) -> dict[str, PairError]:
    """By key why some of the `new` pairs (by split) cannot come in: one like them is in the other split.

    `standing` has by split the keys of `base` that stay; `looks` the perceptual hashes that are known, by key: others
    are reckoned of the pixels. Of two new pairs the one in train is refused: the test split never gives way.
    """
    if not (new["test"] or standing["test"]):
        return {}
    refused = {}
    seen = {key: Seen(key=key, phash=bits, place="") for key, bits in looks.items()}
    for split, other in (("train", "test"), ("test", "train")):
        against = {key: f"{key} in {other}" for key in standing[other]}
        if split == "train":
            against |= {pair.photo.key: f"{pair.photo.key} in {other}" for pair in new[other]}
        if not (new[split] and against):
            continue
        _look(new, images, base, against, seen)
        known = Looks()
        for key, name in sorted(against.items()):
            known.add(seen[key], name)
        for pair in new[split]:
            try:
                known.check(seen[pair.photo.key], f"key {pair.photo.key}")
            except PairError as fault:
                refused[pair.photo.key] = PairError(f"{fault.reason}_in_{other}", str(fault))
    return refused


def _look(
    new: Mapping[str, Sequence[Pair]],
    images: Images,
    base: Root | None,
    against: Collection[str],
    seen: dict[str, Seen],
) -> None:
    """Adds what the new pairs look like, and those of the base that are asked for."""
    for pair in (*new["train"], *new["test"]):
        key = pair.photo.key
        if key not in seen:
            seen[key] = Seen(
                key=key, phash=phash(decode_image(images.image(pair.photo.image), f"key {key}: lq")), place=""
            )
    missing = set(against) - seen.keys()
    if base is not None and missing:
        seen.update({each.key: each for each in published(base.url, _But(missing), priors=True)})


class _But:
    """All (key, split) but those of some keys."""

    def __init__(self, keys: Collection[str]) -> None:
        self._keys = keys

    def __contains__(self, known: object) -> bool:
        return not (isinstance(known, tuple) and known[0] in self._keys)
