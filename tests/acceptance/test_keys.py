"""A change of SECRET_KEY logs nobody out; `resop keys` lists and revokes logins."""

import os
import secrets
from pathlib import Path

from tests.acceptance.conftest import ACCOUNTS
from tests.support.openssh import OpenSSH
from tests.support.service import Embedded, cluster_settings, failure, run_resop
from tests.support.services import eventually


def test_changed_secret_key_logs_nobody_out_and_keys_are_listed_and_revoked(
    folder: Path, ssh: OpenSSH
) -> None:
    old, new = secrets.token_urlsafe(48), secrets.token_urlsafe(48)
    service = Embedded(folder / "keys", {**cluster_settings(ssh), "SECRET_KEY": old})
    repeated = {"Idempotency-Key": "once"}
    file = ssh.home("walter") / ".ssh" / "authorized_keys"
    with service:
        before = service.log_in(ACCOUNTS["walter"]).token
        caller = service.caller(before)
        answer = caller.http.post("/utils/cmd/id", json={}, headers=repeated)
        assert answer.status_code == 200, answer.text

    text = service.config.read_text().replace(f"SECRET_KEY='{old}'", f"SECRET_KEY='{new}'")
    service.config.write_text(f"{text}SECRET_KEY_OLD='{old}'\n")
    with service:
        caller = service.caller(before)
        assert caller.run("whoami").json()["output"]["stdout"] == "walter\n"
        again = caller.http.post("/utils/cmd/id", json={}, headers=repeated)
        assert again.json()["task"] == answer.json()["task"]
        after = service.log_in(ACCOUNTS["walter"])
        assert caller.post("auth/opn/logout").json()["output"]["key_removed"] is True
        assert file.read_bytes().count(b" resop:") == 1

        shown = run_resop(service.folder, "keys", "--user", "walter")
        [_, line] = shown.stdout.splitlines()
        name, user, cluster, kind, *_ = line.split()
        assert (user, cluster, kind) == ("walter", "hpc", "key")
        refused = run_resop(service.folder, "keys", "--revoke", "unknown")
        assert refused.returncode == 1 and "unknown" in refused.stderr
        assert run_resop(service.folder, "keys", "--revoke", name).returncode == 0
        assert eventually(lambda: after.http.get("/tasks").status_code == 401)
        assert failure(after.run("true"), 401)["type"] == "TokenRefused"
        assert name not in run_resop(service.folder, "keys").stdout
    os.truncate(file, 0)
