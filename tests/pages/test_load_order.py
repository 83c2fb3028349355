"""A server's first visit may run a page's script alone, so each must load the library first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.name for path in (ROOT / "pages").glob("*.py"))
WATCHED = """
import ast, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        assert name != "torch" or "dverge" in sys.modules, "torch came first"
sys.meta_path.insert(0, Watch())
for node in ast.parse(open(sys.argv[1]).read()).body:
    if isinstance(node, ast.Import | ast.ImportFrom):
        exec(compile(ast.Module([node], []), "page", "exec"))
assert "torch" in sys.modules
"""


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_library_is_loaded_before_torch(script: str) -> None:
    """The library says how torch's threads wait, which only counts before torch is loaded."""
    command = [sys.executable, "-c", WATCHED, str(ROOT / "pages" / script)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
