"""Decode the content encodings of replies, and the forms in which servers send an image as text."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterable, Iterator
from urllib.parse import unquote_to_bytes

DEFLATED = frozenset({"gzip", "x-gzip", "deflate", "x-deflate"})  # the encodings that inflate() decodes
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
_HEAD = re.compile(r"[^,]*,")  # beginning of a data URL, also without `data:`; base64 has no comma
_WRAPPING = re.compile(r"[\s\"'\ufeff\u200b]|\\[nrt]")


def compressions(content_encoding: str) -> list[str]:
    """Return the compressions that a Content-Encoding names, in the order in which they were applied.

    Names that are not compressions, such as "identity" and "utf-8", are ignored.
    """
    tokens = (token.strip().strip('"').lower() for token in content_encoding.split(","))
    return [token for token in tokens if token in COMPRESSED]


def inflate(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Inflate gzip, zlib or raw deflate, and yield pieces of at most 64 KiB.

    JSON that is not compressed is yielded unchanged, since some servers state a compression that they do not apply.

    Raises:
        ValueError: The data are damaged or cut off.
    """
    decoder, is_plain, is_gzip = None, False, False
    for part in parts:
        if decoder is None and part and not is_plain:  # "deflate" may be zlib or raw deflate
            is_plain = part[0] in b"{["
            is_gzip = part[:2] == b"\x1f\x8b"[: len(part)]
            decoder = None if is_plain else zlib.decompressobj(47 if is_gzip or part[0] & 0x0F == 8 else -15)
        if is_plain:
            yield part
            continue
        while part and decoder is not None:
            if decoder.eof:
                if not is_gzip or not part.startswith(b"\x1f"):
                    break
                decoder = zlib.decompressobj(31)  # gzip may have several members
            try:
                piece = decoder.decompress(part, PIECE)
            except zlib.error as fault:
                raise ValueError("its compressed answer cannot be unpacked") from fault
            part = decoder.unconsumed_tail or decoder.unused_data
            if piece:
                yield piece
    if decoder is None or decoder.eof:
        return
    raise ValueError("its compressed answer ends early")


def decode_base64(text: str) -> bytes:
    """Decode a base64 text in any of the forms that servers send.

    Accepted are a data URL, also without its beginning, percent-encoding, line breaks, also as `\\n`, quotes around the
    text, spaces instead of `+`, the URL-safe alphabet, and missing padding.

    Raises:
        ValueError: The text has other characters, or a length that no base64 text has.
    """
    if head := _HEAD.match(text[:1000]):
        text = text[head.end() :]
    if "%" in text:
        text = unquote_to_bytes(text).decode("ascii")
    text = text.strip()
    if " " in text and not any(letter in text for letter in "+-\n"):
        text = text.replace(" ", "+")  # decoding of form data replaces + by a space
    compact = _WRAPPING.sub("", text).translate(str.maketrans("-_", "+/")).rstrip("=")
    return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
