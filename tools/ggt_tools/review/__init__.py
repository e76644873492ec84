"""A local page on which people judge pairs, and choose between the restorations of a study.

    with Review(workspace, ReviewConfig()) as review:
        print(review.url)
        review.serve()  # until it is stopped

The desk (desk.py, worklists.py, queue.py, comparisons.py) knows who is to see what, and runs in one thread that alone
writes to the ledger. The web application (app.py, exchange.py, templates/, static/) shows it, by the server, the guard
and the viewer of `web`. decisions.py summarizes and exports what was decided.
"""

from __future__ import annotations

from ggt_tools.review.serve import Review, ReviewConfig

__all__ = ["Review", "ReviewConfig"]
