"""The documentation site: `make docs` builds it from the repository's root, with warnings as errors.

The source folder is the root of the repository, so that a link from one Markdown file to another is the same here and
in a viewer of the repository.
"""

import builtins
import importlib
import inspect
import os
import re
import sys
from pathlib import Path

import myst_nb.core.render
from pygments.lexers.shell import BashLexer
from sphinx import addnodes
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.util.nodes import find_pending_xref_condition

ROOT = Path(__file__).parents[1]
# What the notebooks call as `sresnet` is the one that is documented, on as many cores as there are notebooks at a time.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
os.environ["PYTHONPATH"] = f"{ROOT / 'src'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["COLUMNS"] = "110"
os.environ["TTY_COMPATIBLE"] = "0"  # Jupyter asks for colours and bars, which a page cannot show
os.environ["SRESNET_RECORDS"] = str(ROOT / "results")
sys.path.insert(0, str(ROOT / "src"))

project = "sresnet"
copyright = "the authors of sresnet"
root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "results/*.md",
    "benchmarks/data/*.md",
    "src/sresnet/models/pretrained/*.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
]
exclude_patterns = ["build", "dist", "runs", ".*", "**/__pycache__", "**/*.egg-info"]
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton", "sphinx_design"]

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
# Headings of the changelog repeat, and a card or a record may begin with a table.
suppress_warnings = ["myst.header", "config.cache"]

nb_execution_mode = "cache"
nb_execution_cache_path = str(ROOT / "build" / "notebooks")
nb_execution_timeout = 300
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

html_theme = "furo"
html_title = "sresnet"
html_static_path = ["site"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False

nitpicky = True
# Nothing is fetched when the site is built, so names of other projects lead nowhere; and types that only annotations
# name have no page.
nitpick_ignore_regex = [
    (r"py:.*", r"(torch|numpy|np|nn|jaxtyping|typing|collections|pathlib|PIL|types|concurrent|os|enum|abc)\..*"),
    (r"py:class", r"Tensor|T|N|C|H|W|(.*\.)?_\w+"),
    (r"py:class", r"(onnx|nir|importlib|contextlib)\..*"),
    (r"py:class", r"sresnet\.(processes|ops|nn\.graph|train\.passes|export\.about|data\.pictures)\..*"),
    (r"py:class", r"sresnet\.models\.(topology|program|synapses)\..*"),
    (r"py:class", r"sresnet\.analysis\.(activity|cost|hardware|walk)\..*"),
]
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
autodoc_default_options = {"undoc-members": True}
maximum_signature_line_length = 88
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

DOCUMENTED = ("sresnet", "sresnet.nn", "sresnet.models", "sresnet.data", "sresnet.analysis", "sresnet.convert")
"""Modules whose public names become links where a docstring has them between backticks."""


_SECTIONS = Config(napoleon_numpy_docstring=False)


def _links():
    """Name -> where it is documented; the first place counts."""
    found = {}
    for module in DOCUMENTED:
        for name in importlib.import_module(module).__all__:
            found.setdefault(name, f"{module}.{name}")
    return found


def _line(line, name, links):
    """A line of Markdown: code between backticks, a link where it names what is documented; no other sign counts."""
    parts = re.split(r"(`[^`]+`)", line)
    for at, part in enumerate(parts):
        if part.startswith("`") and len(part) > 2:
            word = part.strip("`")
            leads = word in links and not name.endswith(f".{word}")
            parts[at] = f":py:obj:`~{links[word]}`" if leads else f"``{word}``"
        else:
            part = re.sub(r"(\w)_(?!\w)", r"\1\\_", re.sub(r"([*|])", r"\\\1", part))
            # Code that touches a letter is no code to reStructuredText without an escaped space.
            parts[at] = f"\\ {part}" if at and re.match(r"\w", part) else part
    return "".join(parts)


def _restructured(app, what, name, obj, options, lines):
    """Docstrings are written as Markdown, with Google's sections; autodoc wants reStructuredText."""
    written, code = [], False
    for line in lines:
        before = next((each for each in reversed(written) if each), "")
        if not code and line.startswith("    ") and written and not written[-1] and not before.startswith(" "):
            code = True  # indented and apart: code, in Markdown
            written += ["::", ""]
        code = code and (not line or line.startswith("    "))
        written.append(line if code else _line(line, name, app.sresnet_links))
    lines[:] = written
    if what not in ("attribute", "data", "property"):  # there, what is before a colon would be taken for a type
        lines[:] = GoogleDocstring(lines, _SECTIONS, app, what, name, obj, options).lines()


def _readable(app, what, name, obj, options, signature, returned):
    """Defaults that are made anew, of fields of dataclasses, in a way that can be read."""
    return (signature and signature.replace("<factory>", "..."), returned)


def _undocumented(app, what, name, obj, skip, options):
    """A method without a docstring is left out, but for `forward`, whose shapes say what it takes."""
    return True if inspect.isfunction(obj) and not obj.__doc__ and name != "forward" else None


def _without_links_to_builtins(app, doctree):
    """`bytes` in a signature is Python's: Sphinx would take the only field of that name, or find several."""
    for node in list(doctree.findall(addnodes.pending_xref)):
        if node.get("refdomain") == "py" and hasattr(builtins, node["reftarget"]):
            written = find_pending_xref_condition(node, "*")  # as a signature writes what leads nowhere
            node.replace_self((node if written is None else written).children)


def _streams_in_one(outputs):
    """What a cell printed, as it was: it arrives in pieces of 100 characters, between which MyST-NB puts newlines."""
    joined = []
    for output in outputs:
        same = [each for each in joined if each["output_type"] == "stream" and each.get("name") == output.get("name")]
        if output["output_type"] == "stream" and same:
            same[0]["text"] += output["text"]
        else:
            joined.append(output)
    return joined


myst_nb.core.render.coalesce_streams = _streams_in_one


def setup(app):
    """Docstrings, and the colours of commands."""
    app.sresnet_links = _links()
    app.connect("autodoc-process-docstring", _restructured)
    app.connect("autodoc-process-signature", _readable)
    app.connect("autodoc-skip-member", _undocumented)
    app.connect("doctree-read", _without_links_to_builtins)
    app.add_lexer("console", BashLexer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
