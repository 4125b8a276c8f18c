"""Links, paths and names in the documentation exist in the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from resop.testing.scenario_file import (
    CallEntry,
    ErrorEntry,
    FileEntry,
    PastTaskEntry,
    Scenario,
    StepEntry,
)

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE_PATH = re.compile(
    r"`((?:api|bench|cli|deploy|docs|operators|resop|scripts|testbed|tests|worker)/[\w./-]+)`"
)
DEFINITION = re.compile(r"^\s*(?:async )?(?:def|class) (\w+)", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    kept = (re.sub(r"[^\w\s-]", "", heading.lower()) for heading in headings)
    named = re.findall(r'<a (?:id|name)="([^"]+)"', page.read_text(encoding="utf-8"))
    return {re.sub(r"\s", "-", heading.strip()) for heading in kept} | set(named)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_in_code_spans_exist(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        return  # it also names files that were removed
    for path in CODE_PATH.findall(page.read_text(encoding="utf-8")):
        assert "…" in path or (ROOT / path).exists() or list(ROOT.glob(f"{path}*")), path


def test_every_stop_of_a_request_names_what_its_file_defines() -> None:
    way = ARCHITECTURE.split("## The way of a request")[1].split("## Why it is")[0]
    stops = re.findall(r"\]\(\.\./([\w/.]+\.py)\)\s+`([\w.]+)`", way)
    assert len(stops) > 30
    for path, name in stops:
        defined = set(DEFINITION.findall((ROOT / path).read_text(encoding="utf-8")))
        assert set(name.split(".")) <= defined, f"{path}: {name}"


def test_every_class_of_the_glossary_is_defined() -> None:
    glossary = ARCHITECTURE.split("## Glossary")[1]
    rows = re.findall(r"^\| ([^|]+) \|", glossary, re.MULTILINE)
    classes = {name for row in rows for name in re.findall(r"`([A-Z]\w+)`", row)}
    sources = [
        file.read_text(encoding="utf-8")
        for room in ("resop", "api", "worker")
        for file in (ROOT / room).rglob("*.py")
    ]
    defined = {name for source in sources for name in DEFINITION.findall(source)}
    assert len(classes) > 5
    assert classes <= defined


def test_every_key_of_a_scenario_file_is_documented() -> None:
    page = (ROOT / "docs/scenarios.md").read_text(encoding="utf-8")
    sections = re.split(r"^##+ ", page, flags=re.MULTILINE)
    models: dict[str, type[BaseModel]] = {
        "Keys of a scenario": Scenario,
        "Keys of a step": StepEntry,
        "Keys of a call": CallEntry,
        "Keys of an error": ErrorEntry,
        "Keys of a file": FileEntry,
        "Keys of a past task": PastTaskEntry,
    }
    documented = {
        title: re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
        for title, _, text in (section.partition("\n") for section in sections)
        if title.startswith("Keys ")
    }
    assert documented == {title: list(model.model_fields) for title, model in models.items()}
