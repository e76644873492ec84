"""texts: decodes text files that others wrote. Those of spreadsheets and some editors begin with a byte order mark."""

from __future__ import annotations

import codecs
import io
from pathlib import Path

# UTF-32's little-endian mark begins with UTF-16's
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
MARK_BYTES = 4


def text_encoding(start: bytes) -> str:
    """Return how a text that begins with these bytes is encoded: as its byte order mark says, else UTF-8.

    Decoding by it takes the mark away.
    """
    return next((encoding for mark, encoding in _MARKS if start.startswith(mark)), "utf-8")


def decode_text(data: bytes) -> str:
    """Return the text as it stands, line ends too, without a byte order mark. Raises UnicodeDecodeError."""
    return data.decode(text_encoding(data[:MARK_BYTES]))


def read_text(path: Path) -> str:
    """Return the text of a file, its lines ended by line feeds. Raises OSError, UnicodeDecodeError."""
    return io.StringIO(decode_text(path.read_bytes()), newline=None).read()
