"""Shuffle numbers without a table: the order of any number of pairs takes no memory, and starts at once anywhere."""

from __future__ import annotations

import hashlib
import struct

ROUNDS = 4


def shuffled(number: int, count: int, *keys: int) -> int:
    """Return where `number` goes in a random order of `count` numbers that `keys` alone decide.

    For one set of keys this is a permutation of range(count): a Feistel network (Luby and Rackoff, 1988) on the next
    power of four, walked until the result lies below `count` (Black and Rogaway, 2002).

    Args:
        number: 0 <= number < count.
        count: how many numbers are shuffled.
        keys: 64-bit integers, such as seed and epoch.
    """
    half = max(1, -(-(count - 1).bit_length() // 2))
    mask = (1 << half) - 1
    key = hashlib.blake2b(struct.pack(f">{1 + len(keys)}q", count, *keys), digest_size=16).digest()
    while True:
        left, right = number >> half, number & mask
        for each in range(ROUNDS):
            mixed = hashlib.blake2b(struct.pack(">BQ", each, right), digest_size=8, key=key).digest()
            left, right = right, left ^ (int.from_bytes(mixed, "big") & mask)
        number = left << half | right
        if number < count:
            return number
