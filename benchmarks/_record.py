"""How a benchmark keeps its numbers: with versions, device, commit and command."""

import json
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from saner_jax.runs import provenance, write_json

ROOT = Path(__file__).parents[1]


def spread(values: list[float]) -> dict[str, float | int]:
    """Summarize repetitions by their median, quartiles and number."""
    low, median, high = statistics.quantiles(values, n=4)
    return {"median": median, "quartile_1": low, "quartile_3": high, "n": len(values)}


def mean_and_spread(fractions: Any, sign: str = "") -> str:
    """Tell fractions in percent, mean ± standard deviation; `sign="+"` tells a sign always."""
    percent = 100 * np.asarray(fractions)
    spread = f" ± {percent.std(ddof=1):.1f}" if percent.size > 1 else ""
    return f"{percent.mean():{sign}.1f}{spread}"


def cite(result: dict[str, Any]) -> str:
    """Tell a record's commit, with a link to it, and the version of jax and the device."""
    claim = result["claim"].replace(" ", "_")
    device, version = result["device"]["kind"], result["versions"]["jax"]
    path = f"benchmarks/results/{claim}.json"
    return f"[{result['git_commit'][:7]}]({path}), jax {version}, {device}"


def write_result(script: str, output_folder: Path, headline: str, result: dict[str, Any]) -> Path:
    """Write a benchmark's result beside where it came from.

    Args:
        script: the benchmark's ``__file__``; its name is the claim and names the file.
        output_folder: where to put it; ``benchmarks/results`` for what is committed.
        headline: the result in a line, as the table of benchmarks/README.md tells it.
        result: the numbers.

    Returns:
        The file written.
    """
    claim = Path(script).stem
    path = output_folder / f"{claim}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    arguments = shlex.join(sys.argv[1:])
    command = f"python benchmarks/{claim}.py {arguments}".strip()
    git = lambda *words: subprocess.run(
        ["git", "-C", ROOT, *words], capture_output=True, text=True, check=False
    ).stdout.strip()
    changed = git("status", "--porcelain", "--", "saner_jax", f"benchmarks/{claim}.py")
    record = {
        "claim": claim.replace("_", " "),
        "headline": headline,
        "command": command,
        **provenance(),
        "git_commit": git("rev-parse", "HEAD") or None,
        "uncommitted_changes": bool(changed),
        **result,
    }
    write_json(path, record)
    print(json.dumps(json.loads(path.read_text()), indent=1))
    return path
