"""Runs, files and options survive what rarely happens, tried thousands of times.

Runs the tests that make it happen, at the size of `make nightly`, and gathers what they count: laws
over drawn examples, damaged files, kills, full disks, second writers, memory over many steps. A
test that fails ends it without a result.

    python benchmarks/it_survives_faults.py
"""

import dataclasses
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import tyro
from _record import ROOT, write_result

_KILLS = "tests/test_train.py::test_killed_at_random_a_run_ends_as_if_it_had_not_been[digits]"
# What is told of a test, by what its name begins with.
_FILES = {
    "test_a_damaged_npz": "damaged .npz",
    "test_a_damaged_label_file": "damaged file of labels",
    "test_a_damaged_image": "damaged image: PNG, JPEG, BMP, WebP",
    "test_damaged_human_labels": "damaged file of CIFAR-N",
    "test_damaged_checkpoints": "damaged checkpoint",
    "test_a_damaged_log": "damaged log of a run",
}
_FAULTS = {
    "test_a_full_disk": ("full disk during a run", "told; bitwise the same end when there is room"),
    "test_a_folder_that_cannot_be_written": ("read-only folder", "told; evaluated all the same"),
    "test_of_two_runs": ("two runs into one folder at once", "one is refused, the other is whole"),
}
_SOAKS = {
    "test_many_steps": "steps of SANER, compiled",
    "test_many_epochs": "steps of `saner-jax train`",
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Run the tests of faults and tabulate what they tried."""

    tests: tuple[str, ...] = (
        *("tests/test_properties.py", "tests/test_fuzz.py", "tests/test_faults.py", _KILLS),
    )
    """Which tests, as pytest takes them."""
    nightly: bool = True
    """Try as much as `make nightly`; otherwise as little as `make test`."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""


def tested(config: Config) -> list[dict[str, Any]]:
    """Run the tests and return, for each, its name, what it counted, and why it was skipped."""
    environment = {
        **os.environ,
        "SANER_JAX_NIGHTLY": str(int(config.nightly)),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        # Properties of tests are of the older kind of report.
        options = [
            "-q",
            "-n",
            "2",
            "--dist",
            "worksteal",
            "-m",
            "",
            "-o",
            "junit_family=xunit1",
            f"--junitxml={report}",
        ]
        command = [sys.executable, "-m", "pytest", *options, *config.tests]
        if subprocess.run(command, cwd=ROOT, env=environment, stdout=sys.stderr).returncode:
            raise SystemExit("a test failed: there is no result")
        cases = ElementTree.parse(report).getroot().iter("testcase")
        return [
            {
                "name": case.attrib["name"],
                **{p.attrib["name"]: p.attrib["value"] for p in case.iter("property")},
                **{s.tag: s.attrib["message"] for s in case.iter("skipped")},
            }
            for case in cases
        ]


def rows_of(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tell what was tried, how often, and what came out."""
    rows: list[dict[str, Any]] = []

    def tell(fault: str, tried: int, outcome: str) -> None:
        rows.append({"fault": fault, "tried": tried, "outcome": outcome})

    total = lambda found, what: sum(int(case.get(what, 0)) for case in found)
    begins = lambda name: [
        case for case in cases if case["name"].startswith(name) and "skipped" not in case
    ]
    if examples := total(cases, "examples"):
        tell("drawn trees, types, strengths and options", examples, "every law held")
    for name, fault in _FILES.items():
        if found := begins(name):
            tried, refused = total(found, "tried"), total(found, "refused")
            tell(fault, tried, f"{refused:,} refused in a sentence, the others read as they are")
    if found := begins("test_killed_at_random"):
        right, tried = total(found, "right"), total(found, "tried")
        outcome = f"{right} of {tried} went on; bitwise the same end"
        tell("SIGKILL or SIGTERM at a random moment", tried, outcome)
    for name, (fault, outcome) in _FAULTS.items():
        if found := begins(name):
            tell(fault, total(found, "tried") or 1, outcome)
    for name, fault in _SOAKS.items():
        for case in begins(name):
            tell(fault, int(case["tried"]), f"memory from {case['megabytes']} MB")
    for case in cases:
        if "skipped" in case:
            tell(case["name"], 0, f"not tried here: {case['skipped']}")
    return rows


def main(config: Config) -> None:
    """Run, gather and write."""
    rows = rows_of(tested(config))
    headline = "; ".join(f"{row['tried']:,} × {row['fault']}" for row in rows)
    result = {"nightly": config.nightly, "faults": rows}
    write_result(__file__, config.output_folder, f"all as it should be: {headline}", result)


if __name__ == "__main__":
    main(tyro.cli(Config))
