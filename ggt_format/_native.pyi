from typing import Any

VERSION: int

def undo_filters(
    lines: Any,
    image_width: int,
    rows: int,
    band_rows: int,
    skip: int,
    left: int,
    width: int,
    out: Any,
    out_row: int,
    /,
) -> None: ...
