"""A browser test may not be skipped unnoticed where CI requires the browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPPED = """
import pytest

@pytest.mark.browser
@pytest.mark.skipif(True, reason="no chromium")
def test_by_mark():
    pass

@pytest.mark.browser
def test_by_call():
    pytest.skip("no chromium")

@pytest.mark.browser
@pytest.mark.xfail(reason="known")
def test_that_is_expected_to_fail():
    assert False

def test_other():
    pytest.skip("no GPU")
"""


def summary(folder: Path, *, required: str) -> str:
    """The last line of a pytest run in `folder`."""
    shutil.copy(Path(__file__).parents[1] / "conftest.py", folder)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    browser\n", encoding="utf-8")
    environment = os.environ | {"LLM_LATENCY_REQUIRE_BROWSER": required, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-Im", "pytest", "-q", "-p", "no:cacheprovider"]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return run.stdout.splitlines()[-1].partition(" in ")[0]


@pytest.mark.parametrize(
    ("required", "expected"), [("", "3 skipped, 1 xfailed"), ("1", "1 failed, 1 skipped, 1 xfailed, 1 error")]
)
def test_a_skipped_browser_test_fails_where_the_browser_is_required(
    tmp_path: Path, required: str, expected: str
) -> None:
    """A skip by mark is an error in its setup; other tests may still be skipped."""
    (tmp_path / "test_page.py").write_text(SKIPPED, encoding="utf-8")
    assert expected == summary(tmp_path, required=required)


@pytest.mark.parametrize(("required", "expected"), [("", "1 skipped"), ("1", "1 error")])
def test_a_file_skipped_whole_fails_where_the_browser_is_required(tmp_path: Path, required: str, expected: str) -> None:
    """`importorskip` at the top would hide every test of the file."""
    (tmp_path / "test_page.py").write_text("import pytest\npytest.importorskip('no_such_driver')\n", encoding="utf-8")
    assert expected == summary(tmp_path, required=required)
