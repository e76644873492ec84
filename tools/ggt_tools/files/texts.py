"""Decode text files that others wrote. Those of spreadsheets and some editors begin with a byte order mark."""

from __future__ import annotations

import codecs
import io
import os
from pathlib import Path

from ggt_tools.errors import ConfigError

# The little-endian mark of UTF-32 begins with that of UTF-16, so it comes first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
MARK_BYTES = 4
MAX_TEXT_BYTES = 200_000_000  # of a list that is read whole


def text_encoding(start: bytes) -> str:
    """Return the encoding of a text that begins with these bytes: that of its byte order mark, or else UTF-8.

    Decoding by it removes the mark.
    """
    return next((encoding for mark, encoding in _MARKS if start.startswith(mark)), "utf-8")


def decode_text(data: bytes) -> str:
    """Decode a text: its line ends stay, a byte order mark is removed.

    Raises:
        UnicodeDecodeError: The bytes are not text in the encoding of their mark.
    """
    return data.decode(text_encoding(data[:MARK_BYTES]))


def read_bytes(path: Path, *, max_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """Read the bytes of a list.

    Raises:
        OSError: The file cannot be read.
        ConfigError: It has more than `max_bytes`.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise ConfigError(f"{path}: the list has {size} bytes, above {max_bytes}. Split it.")
        return file.read()


def read_text(path: Path) -> str:
    """Read a text file, its lines ended by line feeds.

    Raises:
        OSError: The file cannot be read.
        UnicodeDecodeError: It is not text.
        ConfigError: It is too large.
    """
    return io.StringIO(decode_text(read_bytes(path)), newline=None).read()
