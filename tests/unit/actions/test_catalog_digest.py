"""The digest of the operators: the same for the same files, another after any change."""

from pathlib import Path

import pytest

import resop
from resop.actions.catalog_digest import folders_digest
from resop.errors import BrokenOperator


def folder(root: Path, name: str = "mysite", **files: str) -> Path:
    made = root / name
    (made / "operations").mkdir(parents=True)
    (made / "commands.yml").write_text("- command: id\n")
    for file, text in files.items():
        (made / "operations" / f"{file}.py").write_text(text)
    return made


def test_digest_depends_on_the_files_and_not_on_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = (folder(tmp_path / each, hello="x = 1\n") for each in ("a", "b"))
    other = folder(tmp_path / "a", "other")
    digest = folders_digest([here, other])
    assert digest == folders_digest([folder(tmp_path / "b", "other"), there])
    for ignored in ("__pycache__", "tests"):
        (here / ignored).mkdir()
        (here / ignored / "x.py").write_text("x")
    assert digest == folders_digest([here, other])
    (there / "operations" / "hello.py").write_text("x = 2\n")
    assert digest != folders_digest([there, other])
    (here / "operations" / "new.py").write_text("")
    assert digest != folders_digest([here, other])
    (here / "operations" / "new.py").unlink()
    assert digest == folders_digest([here, other])
    monkeypatch.setattr(resop, "__version__", "99")
    assert digest != folders_digest([here, other])


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    made = folder(tmp_path)
    (made / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BrokenOperator, match=r"mysite/gone: No such file"):
        folders_digest([made])
