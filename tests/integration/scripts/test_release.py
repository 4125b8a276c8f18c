"""scripts/release: prepares a release, or names what it lacks and changes nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CHANGELOG = "# Changelog\n\n## Unreleased\n\n### Added\n- A.\n- B.\n\n## 0.1.0 - 2026-11-27\n"


def git(repository: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *words],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Make a repository with the program, a version and a changelog."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "release", tmp_path / "scripts")
    (tmp_path / "resop").mkdir()
    (tmp_path / "resop" / "__init__.py").write_text('"""x"""\n\n__version__ = "0.1.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "x")
    git(tmp_path, "config", "user.name", "x")
    git(tmp_path, "config", "user.email", "x@example.org")
    return tmp_path


def release(repository: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["scripts/release", *words], cwd=repository, capture_output=True, text=True, check=False
    )


def test_version_and_date_are_committed_and_the_tag_is_left_to_a_person(repository: Path) -> None:
    done = release(repository, "0.2.0")
    assert done.returncode == 0, done.stderr
    assert "with 2 entries" in done.stdout
    assert done.stdout.splitlines()[-1].split() == [
        *("git", "tag", "--annotate", "v0.2.0", "--message", "'resop", "0.2.0'")
    ]
    assert git(repository, "log", "--format=%s", "-1") == "release: 0.2.0\n"
    assert git(repository, "status", "--porcelain") == git(repository, "tag") == ""
    assert '__version__ = "0.2.0"\n' in (repository / "resop" / "__init__.py").read_text()
    changelog = (repository / "CHANGELOG.md").read_text()
    assert re.search(r"^## 0\.2\.0 - \d{4}-\d\d-\d\d$", changelog, re.MULTILINE)
    assert "Unreleased" not in changelog


@pytest.mark.parametrize(
    ("version", "changelog", "message"),
    [
        ("", CHANGELOG, "name the version"),
        ("two", CHANGELOG, "name the version"),
        ("0.1.0", CHANGELOG, "has a dated section of 0.1.0 already"),
        ("0.2.0", "# Changelog\n", "has no section '## Unreleased' or '## 0.2.0'"),
        ("0.2.0", "# Changelog\n\n## Unreleased\n\n## 0.1.0 - x\n- y\n", "has no entry below"),
    ],
)
def test_what_is_lacking_is_named(
    repository: Path, version: str, changelog: str, message: str
) -> None:
    (repository / "CHANGELOG.md").write_text(changelog)
    git(repository, "commit", "--all", "--quiet", "--allow-empty", "--message", "y")
    done = release(repository, *filter(None, [version]))
    assert done.returncode == 1 and message in done.stderr
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "log", "--format=%s", "-1") == "y\n"


def test_uncommitted_changes_are_refused(repository: Path) -> None:
    (repository / "new").touch()
    done = release(repository, "0.2.0")
    assert done.returncode == 1 and "commit or stash your changes first" in done.stderr


def test_existing_tag_is_refused(repository: Path) -> None:
    git(repository, "tag", "v0.2.0")
    assert "the tag v0.2.0 exists already" in release(repository, "0.2.0").stderr
