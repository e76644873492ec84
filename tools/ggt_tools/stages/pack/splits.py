"""The test split: which pairs it holds, and that neither they nor pairs similar to them are in train."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence, Set

from ggt_format.images import decode_image
from ggt_format.roots import Root
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.imaging.perceptual_hash import HashIndex, hash_published_pairs, phash
from ggt_tools.records import Pair, PerceptualHash, Photo
from ggt_tools.stages.pack.writing import Images

TEST_SIZE = 500  # pairs of the test split, unless another number is given
PAIRS_PER_TEST_PAIR = 10  # at least, where a number of pairs is given and no share


class PerceptualHashes:
    """The perceptual hashes of pairs; those that are not stored are computed when they are needed.

    Args:
        stored: Hashes by key that the ledger holds.
        images: Where the images of new pairs are.
        base: The release of which other pairs are; None for none.
    """

    def __init__(self, stored: Mapping[str, str], images: Images, base: Root | None) -> None:
        self.stored = stored
        self._images, self._base = images, base
        self._seen = {key: PerceptualHash(key=key, phash=bits, split="") for key, bits in stored.items()}

    def load(self, pairs: Iterable[Pair], base_keys: Collection[str]) -> None:
        """Compute the hashes of these pairs, and of these keys of the base, where they are missing."""
        for pair in pairs:
            key = pair.photo.key
            if key not in self._seen:
                bits = phash(decode_image(self._images.image(pair.photo.image), f"key {key}: lq"))
                self._seen[key] = PerceptualHash(key=key, phash=bits, split="")
        missing = set(base_keys) - self._seen.keys()
        if self._base is not None and missing:
            self._seen.update(
                {seen.key: seen for seen in hash_published_pairs(self._base.url, _Except(missing), priors=True)}
            )

    def __getitem__(self, key: str) -> PerceptualHash:
        return self._seen[key]


class _Except:
    """Contains every (key, split) but those of some keys."""

    def __init__(self, keys: Collection[str]) -> None:
        self._keys = keys

    def __contains__(self, item: object) -> bool:
        return not (isinstance(item, tuple) and item[0] in self._keys)


def draw_test(photos: Sequence[Photo], test: float) -> frozenset[str]:
    """Draw a test split: each degradation and source by its share of all, the lowest keys.

    A key is a hash, so the lowest are a random choice, and every run draws the same.

    Args:
        photos: The photographs to draw from.
        test: From 1, the number of pairs, of which at most a tenth of all are drawn; below 1, their share.

    Returns:
        The keys of the split.
    """
    count = min(int(test), len(photos) // PAIRS_PER_TEST_PAIR) if test >= 1 else int(test * len(photos))
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    for photo in photos:
        strata[photo.degradation, photo.source].append(photo.key)
    shares = {name: count * len(keys) / max(len(photos), 1) for name, keys in sorted(strata.items())}
    drawn = {name: int(share) for name, share in shares.items()}
    missing = count - sum(drawn.values())  # the strata with the largest remainders get one more
    for name in sorted(shares, key=lambda name: (drawn[name] - shares[name], min(strata[name])))[:missing]:
        drawn[name] += 1
    return frozenset(key for name, keys in strata.items() for key in sorted(keys)[: drawn[name]])


def draw_from_new(
    approved: Mapping[str, Pair],
    test: float | None,
    published_keys: Set[str],
    base_keys: Set[str],
    hashes: PerceptualHashes,
) -> frozenset[str]:
    """Draw a test split of pairs that no earlier release had: models may be trained on the others.

    Pairs that are similar to one of an earlier release are not drawn either.

    Args:
        approved: The pairs of the workspace, by key.
        test: As `PackConfig.test`.
        published_keys: Keys of pairs in earlier releases that had no test split.
        base_keys: Keys of the base.
        hashes: Perceptual hashes.

    Returns:
        The keys of the split.

    Raises:
        ConfigError: There are earlier and new pairs, and `test` does not say whether to draw of the new ones.
    """
    earlier_keys = published_keys | base_keys
    new_pairs = [pair for key, pair in approved.items() if key not in earlier_keys]
    if test is None and earlier_keys and new_pairs:
        raise ConfigError(
            "--test: earlier releases had no test split, and models may be trained on the pairs that they had, so only "
            f"the {len(new_pairs)} new pairs can be drawn for one. Give --test 0.3 to draw a share of them, once for "
            "all later releases, or --test 0 to continue without a test split."
        )
    drawn = draw_test([pair.photo for pair in new_pairs], TEST_SIZE if test is None else test)
    new: dict[str, list[Pair]] = {"train": [], "test": [pair for pair in new_pairs if pair.photo.key in drawn]}
    in_train = base_keys | (published_keys & hashes.stored.keys())
    similar = refuse_similar(new, {"train": in_train, "test": ()}, hashes)
    return drawn - similar.keys()


def refuse_similar(
    new: Mapping[str, Sequence[Pair]], kept_keys: Mapping[str, Collection[str]], hashes: PerceptualHashes
) -> dict[str, PairError]:
    """Find new pairs that are similar to a pair of the other split.

    Of two new pairs the one in train is refused: the test split never changes.

    Args:
        new: New pairs by split, train and test.
        kept_keys: Keys of the pairs that stay, by split.
        hashes: Perceptual hashes.

    Returns:
        Why a pair is refused, by key.
    """
    if not (new["test"] or kept_keys["test"]):
        return {}
    refused = {}
    for split, other in (("train", "test"), ("test", "train")):
        names = {key: f"{key} in {other}" for key in kept_keys[other]}
        if split == "train":
            names |= {pair.photo.key: f"{pair.photo.key} in {other}" for pair in new[other]}
        if not (new[split] and names):
            continue
        hashes.load((*new["train"], *new["test"]), names)
        others = HashIndex()
        for key, name in sorted(names.items()):
            others.add(hashes[key], name)
        for pair in new[split]:
            try:
                others.check(hashes[pair.photo.key], f"key {pair.photo.key}")
            except PairError as fault:
                refused[pair.photo.key] = PairError(f"{fault.reason}_in_{other}", str(fault))
    return refused


def allow_priors(
    priors: Sequence[Pair],
    test: Collection[str],
    new_test: Sequence[Pair],
    kept_test: Collection[str],
    hashes: PerceptualHashes,
) -> tuple[dict[str, Pair], list[PairError]]:
    """Return the priors that may be beside the test split, by key, and why the others may not.

    Args:
        priors: All priors.
        test: Every key that was ever drawn.
        new_test: Pairs that come into the test split.
        kept_test: Keys that stay in it.
        hashes: Perceptual hashes.
    """
    in_test = [
        PairError("prior_in_test", f"key {pair.photo.key}: is in the test split, so none of its outputs is packed")
        for pair in priors
        if pair.photo.key in test
    ]
    others = [pair for pair in priors if pair.photo.key not in test]
    similar = refuse_similar({"train": others, "test": new_test}, {"train": (), "test": kept_test}, hashes)
    allowed = {pair.photo.key: pair for pair in others if pair.photo.key not in similar}
    return allowed, [*in_test, *similar.values()]
