"""A local page over a release: a grid of its pairs to filter and sort, and a page for each pair. Nothing is changed.

    with View("/data/ggt-100k", ViewConfig()) as view:
        print(view.url)
        view.serve()  # until it is stopped

query.py reads the filter from a URL and writes it as one, and as code; catalogue.py finds the pairs that match; in
pictures.py their bytes become thumbnails. The web application (app.py, templates/, static/) shows them, by the server,
the guard and the viewer of `web`.
"""

from __future__ import annotations

from ggt_tools.viewing.serve import View, ViewConfig

__all__ = ["View", "ViewConfig"]
