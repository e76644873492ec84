"""Tables of text for terminals, and texts from outside made harmless."""

from __future__ import annotations

from collections.abc import Sequence


def printable(text: str) -> str:
    """Return a text from outside without control characters: they are written as escapes, for example ``\\x1b``."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table: texts are aligned to the left, columns of numbers to the right.

    Args:
        header: Names of the columns.
        rows: One text a column in each row. Control characters are escaped.
    """
    texts = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    is_number = [all(row[i].replace(".", "", 1).isdigit() for row in rows) for i in range(len(header))]
    lines = []
    for row in texts:
        cells = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_number, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    return lines
