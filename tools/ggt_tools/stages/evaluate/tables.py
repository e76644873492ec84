"""Tables in Markdown and LaTeX, ready for a README or a paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ggt_tools.errors import ConfigError
from ggt_tools.files.outputs import check_output_file

Rows = Sequence[Sequence[str]]  # the names of the columns first
_MARKDOWN = {"|": "\\|", "\n": " ", "<": "&lt;", "*": "\\*", "_": "\\_", "`": "\\`"}
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\n": " ",
}  # fmt: skip


def markdown(title: str, rows: Rows) -> str:
    """Return a heading and a table in Markdown. All columns but the first are aligned to the right."""
    lines = [[_escape(cell, _MARKDOWN) for cell in row] for row in rows]
    lines.insert(1, ["---", *("---:" for _ in rows[0][1:])])
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"## {_escape(title, _MARKDOWN)}\n\n{table}\n"


def latex(title: str, rows: Rows) -> str:
    """Return a table environment with rules of the package booktabs. All columns but the first are to the right."""
    heads, *body = [" & ".join(_escape(cell, _LATEX) for cell in row) + r" \\" for row in rows]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escape(title, _LATEX)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}",
        r"\toprule",
        heads,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


WRITERS = {".md": markdown, ".tex": latex}


def check_table_path(path: Path) -> None:
    """Raise ConfigError where the ending of a file names no kind of table, or it cannot be written."""
    if path.suffix.lower() not in WRITERS:
        raise ConfigError(f"{path}: its ending names no kind of table. Give a file that ends with .md or .tex.")
    check_output_file(path)


def write_tables(path: Path, tables: Sequence[tuple[str, Rows]]) -> bytes:
    """Return the content of a file with tables, each with its title, of the kind that the ending of `path` names."""
    write = WRITERS[path.suffix.lower()]
    return "\n".join(write(title, rows) for title, rows in tables).encode()


def _escape(text: str, signs: dict[str, str]) -> str:
    return "".join(signs.get(sign, sign) for sign in text)
