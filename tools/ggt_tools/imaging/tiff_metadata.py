"""Read the metadata of a TIFF, and remove it from the file."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from ggt_tools.imaging.colour import Colour
from ggt_tools.imaging.metadata import (
    BROKEN_PROFILE,
    MAX_PROFILE_BYTES,
    Metadata,
    TiffLayout,
    read_camera,
    with_primaries,
)
from ggt_tools.imaging.tiff_tags import Entry, TiffTags

# tags of the baseline and its extensions that state how strips and tiles become samples
PIXEL_TAGS = frozenset(
    {254, *range(256, 260), 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, *range(322, 326), 332}
    | {338, 339, 340, 341, 347, *range(512, 522), 529, 530, 531, 532}
)
DEEP_SAMPLES = {
    0: 1,
    1: 1,
    2: 3,
}  # samples of a colour by photometric interpretation: white is zero, black is zero, RGB
PHOTOMETRIC = {3: "palette", 5: "CMYK", 6: "YCbCr", 8: "CIELAB", 32803: "raw sensor", 34892: "raw sensor"}


def read_tiff(data: bytes) -> Metadata:
    """Return the metadata of a TIFF (TIFF 6.0 and BigTIFF); its decoder gets the tags of the first image's pixels.

    Raises:
        ValueError: The file is not a TIFF, or a directory is damaged.
    """
    tags = TiffTags(data)
    main = tags.directory(tags.first)

    def number(tag: int, default: int) -> int:
        return (*tags.integers(main.get(tag)), default)[0]

    profile = tags.value(main[34675], MAX_PROFILE_BYTES) or BROKEN_PROFILE if 34675 in main else b""
    orientation, colour = read_camera(data, tags.value(main[700]) if 700 in main else b"")
    if colour is None:
        chromaticities = (*tags.rationals(main.get(319)), *tags.rationals(main.get(318)))
        colour = with_primaries(Colour(source="tiff_tags"), chromaticities)
    depths = set(tags.integers(main.get(258)) or (1,))
    samples, photometric = number(277, 1), number(262, -1)
    unsupported = ""
    if set(tags.integers(main.get(339))) - {1, 4}:
        unsupported = "numbers with a sign or a fraction"
    elif max(depths) > 8 and (depths != {16} or photometric not in DEEP_SAMPLES):
        kind = PHOTOMETRIC.get(photometric, "samples")
        unsupported = f"{'- and '.join(map(str, sorted(depths)))}-bit {kind}"
    cleaned, images = _clean_tiff(data, tags)
    jpegs = tuple(_tiff_jpegs(data, tags, main)) if number(259, 1) == 7 else ()
    extra = max(samples - DEEP_SAMPLES.get(photometric, samples), 0)
    return Metadata(
        pixels=cleaned, orientation=orientation, profile=profile, colour=colour, depth=max(depths),
        size=(number(256, 0), number(257, 0)), images=images, unsupported=unsupported, jpegs=jpegs,
        layout=TiffLayout(
            photometric=photometric,
            samples=samples,
            is_planar=number(284, 1) == 2,
            extra=(*tags.integers(main.get(338)), *(0,) * extra)[:extra]
        ),
    )  # fmt: skip


def _tiff_jpegs(data: bytes, tags: TiffTags, main: Mapping[int, Entry]) -> Iterator[bytes]:
    """Yield the JPEG streams of strips or tiles, each with the shared tables (TIFF Technical Note 2)."""
    tables = tags.value(main[347]) if 347 in main else b""
    offsets_and_sizes = [tags.integers(main.get(tag)) for tag in ((324, 325) if 324 in main else (273, 279))]
    for start, size in zip(*offsets_and_sizes, strict=False):
        stream = data[start : start + size]
        yield b"\xff\xd8" + tables[2:-2] + stream[2:] if len(tables) > 4 else stream


def _clean_tiff(data: bytes, tags: TiffTags) -> tuple[bytes, int]:
    """Return the file with only the pixel tags of its first directory, and the number of images in it.

    Thumbnails and masks are not counted.
    """
    start, _ = tags.span(tags.first)
    images, offset, visited = 1, tags.next(tags.first), {tags.first}
    while offset and offset not in visited and offset < len(data):
        visited.add(offset)
        images += not (*tags.integers(tags.directory(offset).get(254)), 0)[0] & 5
        offset = tags.next(offset)
    size = tags.entry_size
    entries = [
        data[entry.position : entry.position + size] for tag, entry in tags.entries(tags.first) if tag in PIXEL_TAGS
    ]
    cleaned = bytearray(data)
    struct.pack_into(tags.order + ("Q" if tags.is_big else "H"), cleaned, tags.first, len(entries))
    cleaned[start : start + size * len(entries)] = b"".join(entries)
    struct.pack_into(tags.order + ("Q" if tags.is_big else "I"), cleaned, start + size * len(entries), 0)
    return bytes(cleaned), images
