"""Configuration of the documentation site: `make docs` builds it into docs/_build/html."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from docstrings import as_restructured_text  # noqa: E402

from ndtape import __version__  # noqa: E402

project = "ndtape"
author = "the ndtape authors"
copyright = "the ndtape authors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx_copybutton"]
exclude_patterns = ["_build"]
nitpicky = False
default_role = "code"  # docstrings write `x` for code, as Markdown does

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "groupwise"
autodoc_typehints = "none"  # the sentences say it, and aliases of trees would be spelled out
autosummary_generate = False

html_theme = "furo"
html_title = f"ndtape {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
copybutton_prompt_text = ">>> |\\.\\.\\. |\\$ "
copybutton_prompt_is_regexp = True


def setup(app):
    app.connect("autodoc-process-docstring", as_restructured_text)
