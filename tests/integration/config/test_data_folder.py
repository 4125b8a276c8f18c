"""Only the service's own user can look into the data folder, whatever the umask."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from resop.config.data_folder import prepare_data_folder
from resop.errors import InvalidSettings
from tests.support.needs import need

OTHER_UID = 65_534


@pytest.fixture(autouse=True)
def _loose_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_new_folder_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "data"
    prepare_data_folder(folder)
    assert mode(folder) == 0o700


def test_existing_folder_and_its_files_become_private(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "data"
    (folder / "appendonlydir").mkdir(parents=True)
    files = [folder / "resop.db-wal", folder / "appendonlydir" / "1.aof"]
    for file in files:
        file.write_text("the output of a task")
    assert mode(files[0]) == 0o666
    prepare_data_folder(folder)
    assert [mode(path) for path in (folder, folder / "appendonlydir")] == [0o700, 0o700]
    assert [mode(file) for file in files] == [0o600, 0o600]
    assert "could be accessed by other users" in caplog.text
    caplog.clear()
    prepare_data_folder(folder)
    assert caplog.text == ""


def test_target_of_a_link_and_the_demo_users_files_are_left_alone(tmp_path: Path) -> None:
    folder, outside = tmp_path / "data", tmp_path / "outside"
    (folder / "demo" / "home").mkdir(parents=True)
    outside.write_text("")
    (folder / "link").symlink_to(outside)
    prepare_data_folder(folder)
    assert mode(outside) == 0o666
    assert mode(folder / "demo" / "home") == 0o777


def test_folder_of_somebody_else_that_all_can_read_is_refused(tmp_path: Path) -> None:
    need(None if os.geteuid() == 0 else "only root can give a folder to another user")
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    os.chown(folder, OTHER_UID, OTHER_UID)
    with pytest.raises(InvalidSettings, match=f"belongs to UID {OTHER_UID} .*chmod o="):
        prepare_data_folder(folder)
    folder.chmod(0o770)  # a volume that is shared by group
    prepare_data_folder(folder)
    assert mode(folder) == 0o770


def test_what_a_process_creates_is_private(tmp_path: Path) -> None:
    script = (
        "import pathlib, resource; from resop.config.hardening import harden_process; "
        "harden_process(); pathlib.Path('made').write_text(''); "
        "print(resource.getrlimit(resource.RLIMIT_CORE))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert mode(tmp_path / "made") == 0o600
    assert done.stdout == "(0, 0)\n"
