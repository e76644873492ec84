"""Builds the site of docs/ with Sphinx, MyST and Furo: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from ggt_format import __version__  # noqa: E402

project = "ggt-100k"
author = "The ggt-100k developers"
copyright = "the ggt-100k developers, Apache-2.0"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"ggt-100k {release}"
templates_path: list[str] = []
exclude_patterns = ["_build"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_mock_imports = ["torch"]
# links to files outside docs/ (examples, the sample's credits) are for readers of the repository
suppress_warnings = ["myst.xref_missing", "myst.header", "ref.python"]
nitpicky = False
