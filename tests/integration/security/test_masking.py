"""Masking the trace that a real shell prints."""

from __future__ import annotations

import subprocess

from resop.security.masking import Masker
from resop.types import MASK


def test_form_of_a_shell_trace_is_masked() -> None:
    secret = "it's mine"
    traced = subprocess.run(
        ["bash", "-xc", 'true "$1"', "bash", f"--password={secret}"],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert Masker([secret]).text(traced).splitlines() == [f"+ true '--password={MASK}'"]
