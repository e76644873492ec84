"""texts: decodes text files that others wrote. Those of spreadsheets and some editors begin with a byte order mark."""

from __future__ import annotations

import codecs
import io
import os
from pathlib import Path

from ggt_tools.errors import ConfigError

# UTF-32's little-endian mark begins with UTF-16's
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
    """Return how a text that begins with these bytes is encoded: as its byte order mark says, else UTF-8.

    Decoding by it takes the mark away.
    """
    return next((encoding for mark, encoding in _MARKS if start.startswith(mark)), "utf-8")


def decode_text(data: bytes) -> str:
    """Return the text as it stands, line ends too, without a byte order mark. Raises UnicodeDecodeError."""
    return data.decode(text_encoding(data[:MARK_BYTES]))


def read_bytes(path: Path, *, max_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """Return the bytes of a list. Raises OSError, and ConfigError where there are more than `max_bytes`."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise ConfigError(f"{path}: has {size} bytes, and a list has {max_bytes} at most. Split it.")
        return file.read()


def read_text(path: Path) -> str:
    """Return the text of a file, its lines ended by line feeds. Raises OSError, UnicodeDecodeError, ConfigError."""
    return io.StringIO(decode_text(read_bytes(path)), newline=None).read()
