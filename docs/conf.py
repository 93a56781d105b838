"""How Sphinx builds the documentation: `make docs`."""

from sphinx_gallery.sorting import FileNameSortKey

import lyapkit

project = "lyapkit"
author = "the lyapkit developers"
copyright = "2026, the lyapkit developers"
release = version = lyapkit.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "examples", "tutorials/*", "gallery/**.py"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["config.cache", "myst.xref_missing"]  # links from pages to files of the repository

default_role = "code"
autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say it in words
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False

sphinx_gallery_conf = {
    "examples_dirs": "tutorials",
    "gallery_dirs": "gallery",
    "within_subsection_order": FileNameSortKey,
    "abort_on_example_error": True,
    "capture_repr": (),  # what is printed is shown, not the last expression
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
}

html_theme = "furo"
html_title = f"lyapkit {version}"
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["lyapkit.css"]
