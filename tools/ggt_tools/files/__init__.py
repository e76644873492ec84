"""Read the files of folders and archives that come from outside.

names.py        compare file names: `./` in front, the two Unicode forms of one letter
passed_over.py  count and name what is passed over
folders.py      find the image files below a folder, and read a file within a size
texts.py        decode text files, with or without a byte order mark
blobs.py        read byte ranges of files here, on the Hub or in parts
parts.py        which files are the parts of one archive
tars.py         read tars to their end, plain or compressed
tar_members.py  list the members of a tar, and read them in any order
decompress.py   read positions of a compressed tar
zips.py         read zips in place
zip_ends.py     check the end records of a zip, whole or split
rows.py         read the rows of a dataset of images
"""

from __future__ import annotations

# The suffixes of the image files that are read. A file's content decides its format.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),  # all of these are JPEG
    *(".png", ".webp", ".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif"),
)
MAX_FILE_BYTES = 200_000_000  # of one image file
