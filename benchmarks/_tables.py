"""Write the tables of README.md from the results: python benchmarks/_tables.py.

A table stands between two comments, `<!-- name -->` and `<!-- end -->`; what is between them is
replaced.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from _record import ROOT


def costs(result: dict[str, Any]) -> list[str]:
    """Tell what a step of every method costs, relative to SGD's."""
    lines = ["| method | FLOPs | bytes | time |", "|---|---|---|---|"]
    for name, cell in result["over_sgd"].items():
        time = cell["seconds"]
        lines.append(
            f"| {name} | {cell['flops']:.3f} | {cell['bytes_accessed']:.2f} | {time['median']:.2f}"
            f" [{time['quartile_1']:.2f}, {time['quartile_3']:.2f}] |"
        )
    return lines


TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], list[str]]]] = {
    "costs": ("methods_cost_their_gradients", costs),
}


def filled(text: str) -> str:
    """Replace every table in a text by what the results say."""
    for name, (claim, write) in TABLES.items():
        path = ROOT / "benchmarks" / "results" / f"{claim}.json"
        if path.exists():
            rows = "\n".join(write(json.loads(path.read_text())))
            text = re.sub(
                rf"(<!-- {name} -->\n).*?(<!-- end -->)",
                lambda match, rows=rows: f"{match[1]}{rows}\n{match[2]}",
                text,
                flags=re.DOTALL,
            )
    return text


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text()))
