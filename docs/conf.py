"""The site: `make docs`."""

import gca_jax

project = "gca_jax"
author = "the gca_jax developers"
release = gca_jax.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",  # MathJax 3.2.2 with its fonts: pages open without a network
]
mathjax_path = "mathjax/tex-chtml.js"
exclude_patterns = ["_build"]
default_role = "code"  # of `names` in docstrings
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
# Links to files of the repository that are no pages: configs, main.py. Studies' reports are pages
# that others link to.
suppress_warnings = ["myst.xref_missing", "myst.header", "toc.not_included"]
nb_execution_mode = "cache"
nb_execution_timeout = 900  # of a cell; it takes one minute, more on a busy machine
nb_execution_raise_on_error = True
nb_merge_streams = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
html_theme = "sphinx_book_theme"
html_context = {"default_mode": "auto"}  # without one the theme reports an error on every page
html_title = "gca_jax"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {"show_navbar_depth": 1, "show_toc_level": 2, "navbar_persistent": []}
