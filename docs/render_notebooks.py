"""Pages of the notebooks with their outputs: executes them, and writes Markdown and pictures to docs/notebooks/.

python docs/render_notebooks.py [name ...]      # all of them; two to eight minutes each on one core

`make notebook-pages` calls it. tests/test_documentation.py checks that the pages have the code of the notebooks.
"""

import base64
import sys
from pathlib import Path
from typing import Any

import jupytext
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "notebooks"
TIMEOUT = 1800
"""Seconds that one cell may take."""


def page(notebook: Any, name: str) -> tuple[str, dict[str, bytes]]:
    """The Markdown of an executed notebook, and its pictures by file name."""
    parts, pictures = [], {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                file = f"{name}_{len(pictures) + 1}.png"
                pictures[file] = base64.b64decode(data["image/png"])
                parts.append(f"![Output of the code above]({file})")
            elif text := output.get("text", data.get("text/plain", "")).strip("\n"):
                if output.get("name") == "stderr":
                    continue
                if parts[-1].startswith("```text"):  # prints of one cell are one block
                    text = f"{parts.pop().removeprefix('```text').removesuffix('```').strip(chr(10))}\n{text}"
                parts.append(f"```text\n{text}\n```")
    title, *rest = parts
    note = f"*Executed from `notebooks/{name}.ipynb`; the outputs are those of one run.*"
    return "\n\n".join([*_after_heading(title, note), *rest]) + "\n", pictures


def _after_heading(text: str, note: str) -> list[str]:
    heading, _, body = text.partition("\n")
    return [heading, note, body.strip("\n")]


def main(names: list[str]) -> None:
    """Execute the notebooks of these names, by default all, and write their pages."""
    sources = sorted((ROOT / "notebooks").glob("*.py"))
    PAGES.mkdir(exist_ok=True)
    for source in sources:
        if names and source.stem not in names:
            continue
        notebook = jupytext.read(source)
        NotebookClient(
            notebook, timeout=TIMEOUT, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
        ).execute()
        text, pictures = page(notebook, source.stem)
        for old in PAGES.glob(f"{source.stem}_*.png"):
            old.unlink()
        for file, data in pictures.items():
            (PAGES / file).write_bytes(data)
        (PAGES / f"{source.stem}.md").write_text(text, encoding="utf-8")
        print(f"{source.stem}: {len(pictures)} pictures, {sum(map(len, pictures.values())) // 1000} kB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
