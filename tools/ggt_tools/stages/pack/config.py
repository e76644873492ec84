"""Settings of pack: what a release contains and how it is written."""

from __future__ import annotations

import dataclasses
import re

from ggt_format.schema import CODECS
from ggt_tools.errors import ConfigError, check_limit

SHARD_BYTES = 500_000_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PackConfig:
    """Settings of pack.

    Attributes:
        version: Version of the dataset, three numbers.
        test: Where the test split has not been drawn yet: its number of pairs, at most a tenth of those that can be
            drawn; below 1, their share. None for 500; but after releases without a test split it must be given.
        shard_bytes: Largest size of a shard.
        codec: "png", which keeps every pixel, or "jpeg", which has a third of the size.
        base: The previous release, a folder or fsspec URL; "" for none.
        recompress: Whether to write the base's PNGs anew that have an older layout. Their pixels stay.
        priors: Whether to add outputs that were rejected only because they are not aligned, as visual priors.
        preferences: Whether to add kept and rejected candidates of the photographs, as preference shards.
        forget_packed: Whether pairs of earlier releases without a test split may be drawn for it all the same.
        limit: Pack at most this many pairs.
        dry_run: Only tell what would be done.
    """

    version: str = "1.0.0"
    test: float | None = None
    shard_bytes: int = SHARD_BYTES
    codec: str = "png"
    base: str = ""
    recompress: bool = False
    priors: bool = False
    preferences: bool = False
    forget_packed: bool = False
    limit: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_limit(self.limit)
        if not re.fullmatch(r"\d+\.\d+\.\d+", self.version):
            raise ConfigError(f"--version {self.version}: is not a version. Give three numbers, for example 1.1.0.")
        if self.test is not None and not (0 <= self.test <= 1 or (self.test > 1 and self.test % 1 == 0)):
            raise ConfigError(f"--test {self.test}: is neither a number of pairs nor a share. Give 500, or 0.1.")
        if self.codec not in CODECS:
            raise ConfigError(f"--codec {self.codec}: is not a codec. Give one of {', '.join(CODECS)}.")
        if self.recompress and not self.base:
            raise ConfigError("--recompress: there is no previous release to write anew. Name it: --base PREVIOUS.")
        if self.shard_bytes < 1:
            raise ConfigError(f"--shard-bytes {self.shard_bytes}: is not 1 or more. Give a number of bytes.")
