"""The session of a login: shared by the logins of one account, and of no other."""

from __future__ import annotations

from pathlib import Path

from resop.access.session_provider import SessionProvider
from resop.config.settings import Settings
from resop.security.encryption import Encryptor
from resop.ssh.connector import Connector
from resop.storage.credentials import CredentialStore
from resop.storage.models import Credential
from tests.unit.storage.test_credentials import credential


def login(store: CredentialStore, number: int, username: str, uid: int) -> Credential:
    added = credential(number)
    added.username, added.cluster, added.uid = username, "hpc", uid
    store.add(added)
    return added


async def test_logins_of_one_account_share_a_session_and_a_namesake_does_not(
    credential_store: CredentialStore, tmp_path: Path
) -> None:
    known = tmp_path / "known_hosts"
    known.touch()
    site = Settings(CLUSTER_NAME="hpc", CLUSTER_ADDRESS="127.0.0.1", KNOWN_HOSTS=str(known))
    provider = SessionProvider(
        site, credential_store, Encryptor(b"s" * 40), Connector(site), runner=False
    )
    logins = [
        login(credential_store, 1, "ada", 1001),
        login(credential_store, 2, "ada", 1001),
        login(credential_store, 3, "ada", 1002),  # ada was deleted; somebody got the name
        login(credential_store, 4, "bob", 1001),
    ]
    sessions = [
        await provider.session(each.username, each.cluster, each.id, "00") for each in logins
    ]
    await provider.close()
    assert sessions[0] is sessions[1]
    assert len(set(map(id, sessions))) == 3
