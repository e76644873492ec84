"""files: reads what lies in folders and archives that come from outside.

names.py    compares names: `./` in front, the two Unicode forms of one letter
passing.py  counts and names what is passed over
folders.py  finds the image files below a folder, and reads a file within a size
texts.py    decodes text files, with or without a byte order mark
tars.py     reads tars to their end, plain or compressed
zips.py     reads zips in place
"""

from __future__ import annotations

# The suffixes of the image files that are read. A file's content decides what it is.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),  # all of these are JPEG
    *(".png", ".webp", ".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif"),
)
MAX_FILE_BYTES = 200_000_000  # of one image file
