"""What a type checker and `help` say of the library to its users."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import saner_jax

NAMES = set(saner_jax.__all__)
SCRIPT = Path(__file__).parent / "scripts" / "typed_user.py"


def check(folder, *files):
    """Return pyright's verdict on files in strict mode, as (rule, line) pairs."""
    # Optax ships no stubs; that is no fault of the script. An editable installation may be found by
    # an import hook, which a type checker does not run.
    options = {
        "typeCheckingMode": "strict",
        "reportMissingTypeStubs": False,
        "extraPaths": [str(Path(saner_jax.__file__).parents[1])],
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(options))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run([*command, *map(str, files)], cwd=folder, capture_output=True, text=True)
    found = json.loads(done.stdout)["generalDiagnostics"]
    return [(one.get("rule"), one["range"]["start"]["line"] + 1, one["message"]) for one in found]


@pytest.mark.slow
def test_the_script_runs():
    subprocess.run([sys.executable, SCRIPT], check=True, capture_output=True)


@pytest.mark.slow
def test_a_users_script_is_clean_in_strict_mode(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.read_text())
    found = check(tmp_path, script)
    # JAX and Optax leave types of their own open, such as that of jnp.zeros.
    quoted = lambda message: set(re.findall(r'"(\w+)"', message))
    is_open = lambda rule, message: rule.startswith("reportUnknown") and not quoted(message) & NAMES
    assert [one for one in found if not is_open(one[0] or "", one[2])] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "saner_jax.sam(0.1, perturb_mask=3)",
        "saner_jax.sam('0.1')",
        "saner_jax.sharpness_aware(0.1)",
        "saner_jax.look_if(saner_jax.sam(0.1), 5)",
        "saner_jax.climb(saner_jax.scale_to_radius(0.1), '2')",
    ],
)
def test_a_wrong_type_is_found(line, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"import saner_jax\n\n{line}\n")
    assert [number for _, number, _ in check(tmp_path, script)]


@pytest.mark.parametrize("name", ["saner", "sam", "scale_to_radius", "look_sam"])
def test_help_shows_short_types(name):
    signature = str(inspect.signature(getattr(saner_jax, name)))
    assert "Strength" in signature
    assert "Union" not in signature
