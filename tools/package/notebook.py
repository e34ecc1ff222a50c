"""Run docs/examples/notebook.ipynb and write what its cells show into it.

    python -m tools.package.notebook

Its cells are edited in the file, by hand or in Jupyter; this runs them in order without Jupyter, and keeps of each what
its last line is worth: a picture, or a text. `tests/diffusers/test_example.py` runs them again.
"""

from __future__ import annotations

import ast
import base64
import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

PAGE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "notebook.ipynb"


def run(notebook: dict[str, Any]) -> list[Any]:
    """What the last line of each code cell is worth, None for a statement; the cells share their names."""
    names: dict[str, Any] = {"__name__": "__main__"}
    return [value_of("".join(cell["source"]), names) for cell in code_cells(notebook)]


def value_of(source: str, names: dict[str, Any]) -> Any:
    """Run one cell; its last line's worth."""
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "notebook", "exec"), names)
    return eval(compile(ast.Expression(last.value), "notebook", "eval"), names) if isinstance(last, ast.Expr) else None


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def shown(value: Any) -> dict[str, Any]:
    """A value as notebooks keep it."""
    if not isinstance(value, Image.Image):
        return {"text/plain": [repr(value)]}
    file = io.BytesIO()
    value.save(file, "PNG", optimize=True)
    return {"image/png": base64.b64encode(file.getvalue()).decode(), "text/plain": [f"{value.width} x {value.height}"]}


def picture(cell: dict[str, Any]) -> Image.Image | None:
    """The picture that a cell has kept, if it has one."""
    data = next((output["data"] for output in cell["outputs"]), {})
    return Image.open(io.BytesIO(base64.b64decode(data["image/png"]))) if "image/png" in data else None


def main() -> None:
    notebook = json.loads(PAGE.read_text(encoding="utf-8"))
    for at, (cell, value) in enumerate(zip(code_cells(notebook), run(notebook), strict=True), start=1):
        result = {"output_type": "execute_result", "execution_count": at, "metadata": {}, "data": shown(value)}
        cell |= {"execution_count": at, "outputs": [] if value is None else [result]}
    PAGE.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
