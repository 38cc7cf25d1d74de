"""How Sphinx builds the documentation: make docs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

import geoseg  # noqa: E402

project = "geoseg"
author = "The geoseg authors"
copyright = "2026, the geoseg authors, MIT licence"
release = version = geoseg.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "generated_pages",
]
exclude_patterns = ["_ext", "reference/*/list.txt"]
templates_path: list[str] = []
default_role = "code"
smartquotes = False
highlight_language = "text"
rst_prolog = ".. role:: extra\n   :class: extra\n"

# Pages are plain Markdown, so that they can be read where the repository is shown, too.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]

# Notebooks are saved without what they print and draw; `make docs` runs them.
nb_execution_mode = os.environ.get("GEOSEG_NOTEBOOKS", "off")
nb_execution_timeout = 600
nb_execution_raise_on_error = True
# Warnings of other packages on the machine that builds.
nb_output_stderr = "remove"

nitpicky = True
# Types of other packages, and geoseg's that are not exported, have no page here.
nitpick_ignore_regex = [(r"py:.*", r"(?!geoseg\.).*"), (r"py:.*", r"geoseg\.\w+\..*")]

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"
viewcode_line_numbers = True

copybutton_prompt_text = "$ "

html_theme = "furo"
html_title = "geoseg"
html_static_path = ["_static"]
html_css_files = ["geoseg.css"]
html_favicon = "_static/logo.svg"
html_logo = "_static/logo.svg"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1d6b45", "color-brand-content": "#1d6b45"},
    "dark_css_variables": {"color-brand-primary": "#7fd1a3", "color-brand-content": "#7fd1a3"},
}
pygments_style = "friendly"
pygments_dark_style = "github-dark"
