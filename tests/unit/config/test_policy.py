"""The policy: which rule decides, who may read a setting, and what is refused at start-up."""

import re
from pathlib import Path
from typing import Any

import fakeredis
import pytest

from api.state.rate_limit import RATE_PERIOD_SECONDS, count
from resop.config.policy import OPEN, Decision, Policy, load_policy
from resop.errors import Forbidden, InvalidSettings, LimitReached, QueueUnavailable
from resop.security.encryption import Encryptor
from resop.security.identity import Identity
from resop.security.tokens import Token

FILE = """\
default: deny
settings:
  BIND_PASSWORD: [ldap, hpc*]
rules:
  - deny: core:run
  - deny: ["slurm:*account", slurm:add_user]
    groups: students
  - allow: slurm:*
    rate: 60
  - allow: "hpccenter:*"
    users: [hpcadmin]
    groups: ["staff*", domain users]
"""
ACTIONS = [
    *("core:run", "core:script", "slurm:squeue", "slurm:create_account", "slurm:add_user"),
    *("hpccenter:create_user", "ldap:ldapsearch"),
]
TOKEN = Token("ada", "hpc", "c", "", 0)
ENCRYPTOR = Encryptor(b"k" * 40)


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    file = tmp_path / "policy.yml"
    file.write_text(FILE)
    made = load_policy(file)
    made.check_names(ACTIONS)
    return made


@pytest.mark.parametrize(
    ("action", "username", "groups", "allowed", "place"),
    [
        ("core:run", "hpcadmin", [], False, "policy.yml:5"),
        ("core:script", "hpcadmin", [], False, "policy.yml"),
        ("slurm:squeue", "bob", [], True, "policy.yml:8"),
        ("slurm:create_account", "bob", ["students"], False, "policy.yml:6"),
        ("slurm:create_account", "bob", ["student"], True, "policy.yml:8"),
        ("slurm:create_account", "bob", None, False, "policy.yml:6"),
        ("slurm:squeue", "bob", None, True, "policy.yml:8"),
        ("hpccenter:create_user", "hpcadmin", None, True, "policy.yml:10"),
        ("hpccenter:create_user", "hpcadmin2", [], False, "policy.yml"),
        ("hpccenter:create_user", "bob", ["x", "staff-2"], True, "policy.yml:10"),
        ("hpccenter:create_user", "bob", ["domain users"], True, "policy.yml:10"),
        ("hpccenter:create_user", "bob", None, False, "policy.yml"),
    ],
)
def test_first_rule_that_applies_decides(
    policy: Policy,
    action: str,
    username: str,
    groups: list[str] | None,
    allowed: bool,
    place: str,
) -> None:
    decision = policy.decide(action, Identity(username, "hpc"), groups)
    assert (decision.allowed, decision.place) == (allowed, place)


def test_refusal_names_the_rule_and_what_it_says(policy: Policy) -> None:
    with pytest.raises(Forbidden) as refused:
        policy.decide("slurm:add_user", Identity("bob", "hpc"), None).enforce()
    assert refused.value.message == (
        "policy.yml:6: denies slurm:*account, slurm:add_user to the group students "
        "(the user's groups are unknown: log in again)"
    )
    assert refused.value.details == {"rule": "policy.yml:6"}


TWO = ["main", "devbox"]
TWO_CLUSTERS = """\
default: deny
rules:
  - deny: core:run
    users: ["mallory@*", "*-guest@devbox"]
  - allow: core:*
    users: [hpcadmin@main, "ada@example.org@main", "*-admin@main"]
    groups: staff@main
  - allow: slurm:*
    users: bob
    groups: physics
    clusters: main
  - allow: slurm:squeue
    clusters: dev*
"""


@pytest.mark.parametrize(
    ("action", "user", "groups", "allowed"),
    [
        ("core:run", "hpcadmin@main", [], True),
        ("core:run", "hpcadmin@devbox", ["staff"], False),
        ("core:run", "hpcadmin@main@devbox", [], False),
        ("core:run", "x-admin@main", [], True),
        ("core:run", "x-admin@devbox", [], False),
        ("core:run", "x-admin@main@devbox", [], False),
        ("core:run", "ada@example.org@main", [], True),
        ("core:run", "ada@example.org@devbox", [], False),
        ("core:run", "bob@main", ["staff"], True),
        ("core:run", "mallory@main", ["staff"], False),
        ("core:run", "mallory@devbox", ["staff"], False),
        ("slurm:add_user", "bob@main", [], True),
        ("slurm:add_user", "bob@devbox", ["physics"], False),
        ("slurm:add_user", "eve@main", ["physics"], True),
        ("slurm:squeue", "eve@devbox", [], True),
        ("slurm:squeue", "eve@main", [], False),
    ],
)
def test_a_name_counts_on_its_own_cluster_only(
    tmp_path: Path, action: str, user: str, groups: list[str], allowed: bool
) -> None:
    file = tmp_path / "policy.yml"
    file.write_text(TWO_CLUSTERS)
    identity = Identity.parse(user)
    assert identity is not None
    assert load_policy(file, TWO).decide(action, identity, groups).allowed is allowed


@pytest.mark.parametrize("name", ["alice", '"*"', "alice@exmaple.org", '"*-admin"', "alice@"])
@pytest.mark.parametrize("key", ["users", "groups"])
def test_with_several_clusters_a_plain_name_is_refused_at_start(
    tmp_path: Path, key: str, name: str
) -> None:
    file = tmp_path / "policy.yml"
    file.write_text(f"default: deny\nrules:\n  - allow: core:run\n    {key}: {name}\n")
    with pytest.raises(InvalidSettings) as refused:
        load_policy(file, TWO)
    plain = name.strip('"')
    assert refused.value.message == (
        f"POLICY_FILE: {file}:3: rules.0: {plain!r} names none of the 2 clusters: write "
        f"{plain}@main or {plain}@devbox, or give the rule 'clusters:'"
    )
    assert load_policy(file, ["main"]).decide("core:run", Identity("x", "main"), []) is not None


def test_with_one_cluster_both_forms_are_the_same_user(tmp_path: Path) -> None:
    file = tmp_path / "policy.yml"
    file.write_text(
        "default: deny\nrules:\n  - allow: core:run\n    users: [ada@main, bob, eve@corp.example]\n"
    )
    policy = load_policy(file, ["main"])
    for name in ("ada", "bob", "eve@corp.example"):
        assert policy.decide("core:run", Identity(name, "main"), []).allowed
    assert not policy.decide("core:run", Identity("eve", "main"), []).allowed


def test_a_rule_for_an_unknown_cluster_is_refused_at_start(tmp_path: Path) -> None:
    file = tmp_path / "policy.yml"
    file.write_text("default: deny\nrules:\n  - allow: core:run\n    clusters: [main, mian]\n")
    with pytest.raises(InvalidSettings, match=r"4: rules\.0\.clusters: 'mian' matches nothing"):
        load_policy(file, TWO)


def test_setting_is_readable_by_the_named_operators_only(policy: Policy) -> None:
    for setting, operator in [("BIND_PASSWORD", "hpccenter"), ("OTHER", "mysite")]:
        policy.check_reader(setting, operator)
    with pytest.raises(
        Forbidden,
        match=r"^policy\.yml:3: the operator mysite may not read the setting BIND_PASSWORD",
    ):
        policy.check_reader("BIND_PASSWORD", "mysite")


def test_without_a_file_everything_is_allowed() -> None:
    assert OPEN.decide("core:run", Identity("bob", "hpc"), None).allowed and not OPEN.asks_groups
    OPEN.check_reader("BIND_PASSWORD", "mysite")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1: default: is missing"),
        ("default: maybe\n", "1: default: must be allow or deny"),
        (
            "default: deny\nrule: []\n",
            "2: rule: is not a known key; the keys are default, rules, settings",
        ),
        ("default: deny\ndefault: allow\n", "2: 'default' occurs twice"),
        ("default: deny\nrules:\n  - allow: *\n", "3: "),
        (
            "default: deny\nrules:\n  - user: ada\n",
            "3: rules.0.user: is not a known key; "
            "the keys are allow, deny, users, groups, clusters, rate",
        ),
        ("default: deny\nrules:\n\n  - users: ada\n", "4: rules.0: must have either 'allow' or"),
        (
            "default: deny\nrules:\n  - deny: '*'\n    rate: 3\n",
            "3: rules.0: must have 'allow' if it has 'rate'",
        ),
        (
            "default: deny\nrules:\n  - allow: '*'\n    rate: 0\n",
            "4: rules.0.rate: must be a number of tasks a minute",
        ),
        (
            "default: deny\nrules:\n  - allow: '*'\n    users: []\n",
            "4: rules.0.users: must be a name or a list of names",
        ),
        (
            "default: deny\nrules:\n  - deny: core:rum\n",
            "3: rules.0.deny: 'core:rum' matches nothing on this service",
        ),
        (
            "default: deny\nrules:\n  - deny: core\n",
            "3: rules.0.deny: 'core' matches nothing on this service",
        ),
        (
            "default: deny\nsettings:\n  X: ldapp\n",
            "3: settings.X: 'ldapp' matches nothing on this service",
        ),
    ],
)
def test_fault_is_reported_with_its_line_and_key(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "policy.yml"
    file.write_text(text)
    with pytest.raises(InvalidSettings) as refused:
        load_policy(file).check_names(ACTIONS)
    assert refused.value.message.startswith(f"POLICY_FILE: {file}:{said}"), refused.value.message


def test_missing_policy_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"POLICY_FILE: .*/none\.yml: No such file"):
        load_policy(tmp_path / "none.yml")


async def test_rate_blocks_a_user_for_the_rest_of_the_minute() -> None:
    redis = fakeredis.FakeAsyncRedis()
    twice = Decision(True, "policy.yml:8", "", 2)
    await count(redis, ENCRYPTOR, twice, TOKEN)
    await count(redis, ENCRYPTOR, twice, TOKEN)
    with pytest.raises(LimitReached) as reached:
        await count(redis, ENCRYPTOR, twice, TOKEN)
    assert 0 < reached.value.details["retry_after"] <= RATE_PERIOD_SECONDS
    await count(redis, ENCRYPTOR, twice, Token("bob", "hpc", "c", "", 0))
    await count(redis, ENCRYPTOR, Decision(True, "policy.yml:9", "", 1), TOKEN)


async def test_rate_shows_neither_user_nor_rule_in_redis() -> None:
    redis = fakeredis.FakeAsyncRedis()
    await count(redis, ENCRYPTOR, Decision(True, "policy.yml:8", "", 2), TOKEN)
    keys: list[Any] = await redis.keys()
    assert re.fullmatch(rb"resop:rate:[0-9a-f]{64}", keys[0]) and len(keys) == 1


async def test_without_redis_a_rate_lets_nothing_through() -> None:
    server = fakeredis.FakeServer()
    server.connected = False
    redis = fakeredis.FakeAsyncRedis(server=server)
    await count(redis, ENCRYPTOR, Decision(True), TOKEN)
    with pytest.raises(QueueUnavailable):
        await count(redis, ENCRYPTOR, Decision(True, "policy.yml:8", "", 2), TOKEN)
