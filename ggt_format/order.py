"""Shuffle numbers without a table: an order takes no memory, and any entry of it is computed directly."""

from __future__ import annotations

import hashlib
import struct

ROUNDS = 4


def permute(number: int, count: int, *keys: int) -> int:
    """Return entry `number` of a random order of range(count) that depends on `keys` alone.

    It is a permutation of range(count) for each set of keys: a Feistel network (Luby and Rackoff, 1988) on the next
    power of four, applied until the result is below `count` (cycle walking; Black and Rogaway, 2002).

    Args:
        number: 0 <= number < count.
        count: How many numbers are shuffled.
        keys: 64-bit integers, such as seed and epoch.
    """
    half = max(1, -(-(count - 1).bit_length() // 2))
    mask = (1 << half) - 1
    key = hashlib.blake2b(struct.pack(f">{1 + len(keys)}q", count, *keys), digest_size=16).digest()
    while True:
        left, right = number >> half, number & mask
        for round_number in range(ROUNDS):
            mixed = hashlib.blake2b(struct.pack(">BQ", round_number, right), digest_size=8, key=key).digest()
            left, right = right, left ^ (int.from_bytes(mixed, "big") & mask)
        number = left << half | right
        if number < count:
            return number
