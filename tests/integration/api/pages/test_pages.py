"""The pages load nothing before the first one is requested."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]


def test_templates_are_loaded_with_the_first_page_and_not_before() -> None:
    code = (
        "import sys, api.main; sys.exit(not {'jinja2', 'api.pages.views'}.isdisjoint(sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
