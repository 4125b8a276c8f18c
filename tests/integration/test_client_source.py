"""The synchronous client is the asynchronous one without `await`."""

from __future__ import annotations

import importlib.util

import pytest

from tests.support.services import ROOT


def test_generated_client_is_up_to_date() -> None:
    pytest.importorskip("ruff", reason="missing: ruff, of `scripts/setup dev`")
    spec = importlib.util.spec_from_file_location("make_sync", ROOT / "client/scripts/make_sync.py")
    assert spec is not None and spec.loader is not None
    make_sync = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_sync)
    expected = make_sync.generated()
    folder = ROOT / "client/resop_client/_sync"
    found = {file.name: file.read_text(encoding="utf-8") for file in folder.glob("*.py")}
    assert found == expected, "run client/scripts/make_sync.py"
