"""What a reply is wrapped in: content encodings, and the forms in which an image comes as text."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterable, Iterator
from urllib.parse import unquote_to_bytes

DEFLATED = frozenset({"gzip", "x-gzip", "deflate", "x-deflate"})  # what is unpacked here
COMPRESSED = DEFLATED | {
    "br",
    "zstd",
    "compress",
    "x-compress",
    "lzma",
    "xz",
    "bzip2",
    "dcb",
    "dcz",
    "exi",
    "pack200-gzip",
}
PIECE = 1 << 16
_DATA_URL = re.compile(r"data:[^,]*,", re.I)


def compressions(content_encoding: str) -> list[str]:
    """The compressions that a Content-Encoding names, in the order in which they were applied.

    "", "identity", "utf-8" and whatever else is no compression count for nothing.
    """
    tokens = (token.strip().strip('"').lower() for token in content_encoding.split(","))
    return [token for token in tokens if token in COMPRESSED]


def inflate(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Unpacks gzip, zlib or raw deflate, at most 64 KiB a piece. Raises ValueError where it is damaged or cut."""
    decoder = None
    for part in parts:
        if decoder is None and part:  # both zlib and raw deflate are called "deflate"
            wrapped = part[:2] == b"\x1f\x8b"[: len(part)] or part[0] & 0x0F == 8
            decoder = zlib.decompressobj(47 if wrapped else -15)
        while part and decoder is not None and not decoder.eof:
            try:
                piece = decoder.decompress(part, PIECE)
            except zlib.error as fault:
                raise ValueError("its compressed answer cannot be unpacked") from fault
            part = decoder.unconsumed_tail
            if piece:
                yield piece
    if decoder is None or decoder.eof:
        return
    raise ValueError("its compressed answer ends early")


def decode_base64(text: str) -> bytes:
    """The bytes of a base64 text in any of its usual forms.

    These are a data URL, percent-encoded or not, line breaks, the URL-safe alphabet and missing padding. Raises
    ValueError for any other character, and for a length that no base64 text has.
    """
    prefix = _DATA_URL.match(text.lstrip()[:1000])
    if prefix:
        text = text.lstrip()[prefix.end() :]
        if "%" in text:
            text = unquote_to_bytes(text).decode("ascii")
    compact = "".join(text.split()).translate(str.maketrans("-_", "+/")).rstrip("=")
    return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
