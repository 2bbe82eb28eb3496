"""Hooks of mkdocs: complete API pages, cross-references to them, and formulas as MathML.

`lopt.meta.PES` in backquotes becomes a cross-reference; a name that no API page documents ends the strict build, as
does a public name of a package without an entry. A function with the name of its module (`lopt.optimizers.lion`) is
hidden by the module from mkdocstrings, and gets a directive of its own. Formulas between dollars, of the notebooks,
become MathML, which browsers show without scripts.
"""

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

import lopt  # loads nothing

ROOT = Path(lopt.__file__).parents[1]
NAME = re.compile(r"(?<!\[)`((?:lopt|envs)(?:\.\w+)+)(\(\))?`(?!\])")
DIRECTIVE = re.compile(r"^::: (\S+)$", re.MULTILINE)
DISPLAY, INLINE = re.compile(r"\$\$(.+?)\$\$", re.DOTALL), re.compile(r"\$(?!\s)([^$`]+?)\$")


def on_page_markdown(markdown: str, page: Any, **options: Any) -> str:
    """The Markdown of a page for the site."""
    if page.file.src_uri.startswith("reference/"):
        return DIRECTIVE.sub(lambda match: "\n\n".join([match[0], *_hidden(match[1])]), markdown)
    if page.file.src_uri.startswith("notebooks/"):
        return _outside_code(markdown, _formulas)
    return _outside_code(markdown, lambda text: NAME.sub(_reference, text))


def on_post_build(config: Any, **options: Any) -> None:
    """Check that every public name of every package on the API pages has an entry.

    Raises:
        PluginError: it has not.
    """
    folder = ROOT / "docs" / "reference"
    packages = [name for page in folder.glob("*.md") for name in DIRECTIVE.findall(page.read_text(encoding="utf-8"))]
    built = "".join(page.read_text(encoding="utf-8") for page in Path(config.site_dir).glob("reference/*/index.html"))
    entries = set(re.findall(r'id="([\w.]+)"', built))
    missing = [
        f"{package}.{name}"
        for package in packages
        for name in _public(package)
        if _target(package, name) not in entries and not _path(f"{package}.{name}").exists()
    ]
    if missing:
        raise PluginError(f"public names without documentation: {', '.join(missing)}")


def _path(module: str) -> Path:
    """The file of a module or package."""
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _public(module: str) -> list[str]:
    """The names in the `__all__` of a module."""
    for node in ast.parse(_path(module).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def _target(package: str, name: str) -> str:
    """The identifier of a public name: in the module of the same name, where there is one that defines it."""
    path = _path(f"{package}.{name}")
    if path.name != "__init__.py" and path.exists():
        defined = {
            node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)
        }
        if name in defined:
            return f"{package}.{name}.{name}"
    return f"{package}.{name}"


def _hidden(package: str) -> list[str]:
    """Directives for the functions that a module of the same name hides."""
    targets = [_target(package, name) for name in _public(package)]
    options = "    options: {show_root_heading: true, show_root_toc_entry: true, heading_level: 2}"
    return [f"::: {target}\n{options}" for target in targets if target.count(".") > package.count(".") + 1]


def _outside_code(markdown: str, change: Callable[[str], str]) -> str:
    blocks = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(text if text.startswith("```") else change(text) for text in blocks)


def _formulas(text: str) -> str:
    text = DISPLAY.sub(lambda match: convert(" ".join(match[1].split()), display="block"), text)
    return INLINE.sub(lambda match: convert(" ".join(match[1].split())), text)


def _reference(match: re.Match[str]) -> str:
    name = match[1]
    parts = name.split(".")
    if parts[0] == "lopt" and parts[1] in lopt._FROM:
        parts = ["lopt", lopt._FROM[parts[1]], *parts[1:]]
    if len(parts) == 2 or _path(".".join(parts)).name == "__init__.py":  # a package is a page
        return match[0]
    package = ".".join(parts[:-1])
    if _path(package).name == "__init__.py":
        target = _target(package, parts[-1])
        if target == ".".join(parts) and _path(target).exists():
            return match[0]  # a module
    else:
        target = ".".join(parts)
    return f"[`{name}{match[2] or ''}`][{target}]"
