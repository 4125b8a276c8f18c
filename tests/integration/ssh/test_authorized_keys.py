"""Lines of authorized_keys, read by OpenSSH itself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.support.needs import need
from tests.unit.ssh.test_authorized_keys import HERE, LINE


def test_ssh_itself_reads_the_line(tmp_path: Path) -> None:
    file = tmp_path / "authorized_keys"
    file.write_bytes(LINE.render())
    read = subprocess.run(["ssh-keygen", "-lf", file], capture_output=True, text=True, check=False)
    need(None if read.returncode == 0 else f"ssh-keygen cannot read it: {read.stderr}")
    assert re.fullmatch(rf"256 SHA256:\S+ resop:{HERE}:\S+ \(ED25519\)\n", read.stdout)
