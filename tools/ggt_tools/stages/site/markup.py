"""Turn the sections of the card, which are Markdown, into HTML.

Only what the sections use is understood: paragraphs, lists, headings, blocks of code, and within a line code, links,
strong and emphasised text. The card escapes texts from outside as numeric character references, which HTML reads alike.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

_FENCE = re.compile(r"^(`{3,})(\w*)\n(.*?)^\1$\n?", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`([^`\n]+)`|\[([^\]]+)\]\(<?([^)>\s]+)>?\)|\*\*([^*]+)\*\*|\*([^*\s][^*]*)\*")
_AMPERSAND = re.compile(r"&(?!#\d{1,7};|amp;)")


def to_html(text: str, *, level: int = 3) -> str:
    """Return the HTML of a section.

    Args:
        text: Markdown of the card's own sections.
        level: Level of its headings on the page, 2 to 6.
    """
    parts, end = [], 0
    for match in _FENCE.finditer(text):
        parts += [
            *_blocks(text[end : match.start()], level),
            f"<pre><code>{html.escape(match[3].rstrip())}</code></pre>",
        ]
        end = match.end()
    return "\n".join([*parts, *_blocks(text[end:], level)])


def _blocks(text: str, level: int) -> Iterator[str]:
    """Yield the HTML of each heading, list and paragraph."""
    for block in re.split(r"\n\s*\n", text.strip()):
        if not block.strip():
            continue
        if heading := re.fullmatch(r"#{1,6} (.*)", block):
            yield f"<h{level}>{to_line(heading[1])}</h{level}>"
        elif block.startswith("- "):
            items = re.split(r"^- ", block, flags=re.MULTILINE)[1:]
            yield "<ul>" + "".join(f"<li>{to_line(' '.join(item.split()))}</li>" for item in items) + "</ul>"
        else:
            yield f"<p>{to_line(' '.join(block.split()))}</p>"


def to_line(text: str) -> str:
    """Return the HTML of a line."""
    parts, end = [], 0
    for match in _INLINE.finditer(text):
        code, label, url, strong, emphasised = match.groups()
        parts.append(_escape(text[end : match.start()]))
        if code is not None:
            parts.append(f"<code>{html.escape(code)}</code>")
        elif label is not None:
            is_web_address = url.startswith(("https://", "http://"))
            target = html.escape(html.unescape(url))
            parts.append(f'<a href="{target}">{_escape(label)}</a>' if is_web_address else _escape(label))
        elif strong is not None:
            parts.append(f"<strong>{_escape(strong)}</strong>")
        else:
            parts.append(f"<em>{_escape(emphasised)}</em>")
        end = match.end()
    return "".join([*parts, _escape(text[end:])])


def _escape(text: str) -> str:
    """Escape a text for HTML; the references that the card has written stay."""
    return _AMPERSAND.sub("&amp;", text).replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
