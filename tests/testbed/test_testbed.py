"""Shows that the testbed is what it claims to be: over SSH with paramiko, as its users do."""

import contextlib
import hashlib
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest

from testbed.machine import Machine
from testbed.site import SiteDescription, SiteUser, describe_site
from tests.support import testbed
from tests.support.needs import need
from tests.support.testbed import Testbed, totp

pytestmark = pytest.mark.timeout(120)

PATIENCE = 60.0
HOST_FILES = ("passwd", "group", "shadow", "nsswitch.conf", "hosts", "sudoers", "pam.d", "ssh")


def host_state() -> dict[str, str]:
    """Files of the host that a testbed might have edited."""
    files = [
        each for name in HOST_FILES for each in [Path("/etc", name), *Path("/etc", name).glob("*")]
    ]
    return {str(f): hashlib.sha256(f.read_bytes()).hexdigest() for f in files if f.is_file()}


HOST_BEFORE = host_state()


@pytest.fixture(scope="module")
def alice(bed: Testbed) -> Iterator[paramiko.SSHClient]:
    with login(bed, bed.site.users[0]) as client:
        yield client


@pytest.fixture(scope="module")
def admin(bed: Testbed) -> Iterator[paramiko.SSHClient]:
    with login(bed, bed.site.admin, by_key=True) as client:
        yield client


@contextlib.contextmanager
def login(
    bed: Testbed, user: SiteUser, *, password: str | None = None, by_key: bool = False
) -> Iterator[paramiko.SSHClient]:
    """Log in, with the host key verified; by password, or with a key only."""
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(bed.site.ssh.known_hosts))
        client.connect(
            bed.site.ssh.host,
            bed.site.ssh.port,
            user.name,
            password=None if by_key else password or user.password,
            pkey=paramiko.Ed25519Key.from_private_key_file(str(user.key)) if by_key else None,
            allow_agent=False,
            look_for_keys=False,
            timeout=20,
        )
        yield client


def ssh(client: paramiko.SSHClient, command: str, text: str = "") -> str:
    """Return what a command prints; AssertionError with its errors if it fails."""
    stdin, stdout, stderr = client.exec_command(command, timeout=PATIENCE)
    stdin.write(text)
    stdin.channel.shutdown_write()
    output = stdout.read().decode()
    status = stdout.channel.recv_exit_status()
    assert status == 0, f"{command}: {status} {output} {stderr.read().decode()}"
    return output.strip()


def eventually(value: Callable[[], str], wanted: str) -> None:
    """Wait for a command to tell the wanted answer."""
    deadline = time.monotonic() + PATIENCE
    while (last := value()) != wanted:
        assert time.monotonic() < deadline, f"still {last!r}, not {wanted!r}"
        time.sleep(0.2)


def completes(client: paramiko.SSHClient, job: str) -> None:
    """Wait until accounting says COMPLETED."""
    eventually(lambda: ssh(client, f"sacct -X -n -P -j {job} -o state"), "COMPLETED")


def ldap_admin(site: SiteDescription, tool: str) -> str:
    bind = f"-D {site.ldap.bind_dn} -w {site.ldap.password}"
    return f"{tool} -x -H {site.ldap.uri} {bind}"


def new_person(site: SiteDescription, name: str, uid: int) -> str:
    attributes = {
        "dn": f"uid={name},{site.ldap.people}",
        "objectClass": "inetOrgPerson\nobjectClass: posixAccount\nobjectClass: shadowAccount",
        "uid": name,
        "cn": name,
        "sn": name,
        "uidNumber": uid,
        "gidNumber": site.ldap.gid,
        "homeDirectory": f"/home/{name}",
        "loginShell": "/bin/bash",
        "userPassword": f"{name}-pw",
    }
    return "".join(f"{key}: {value}\n" for key, value in attributes.items())


def make_person(bed: Testbed, admin: paramiko.SSHClient, name: str, uid: int) -> SiteUser:
    ssh(admin, ldap_admin(bed.site, "ldapadd"), new_person(bed.site, name, uid))
    return bed.site.users[0].model_copy(update={"name": name, "uid": uid, "password": f"{name}-pw"})


def connect(bed: Testbed) -> paramiko.Transport:
    """Connect without logging in."""
    transport = paramiko.Transport((bed.site.ssh.host, bed.site.ssh.port))
    transport.start_client(timeout=20)
    return transport


def answer_prompts(transport: paramiko.Transport, user: SiteUser, code: str) -> None:
    """Log in by keyboard-interactive; AuthenticationException when refused."""

    def answers(title: str, instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
        return [user.password if "assword" in prompt else code for prompt, _ in prompts]

    transport.auth_interactive(user.name, answers)


# -- logins ---------------------------------------------------------------------------------


def test_password_login_resolves_ldap_user_and_groups(alice: paramiko.SSHClient) -> None:
    assert ssh(alice, "id -un; id -gn; pwd; hostname").split() == [
        *("alice", "hpcusers"),
        *("/home/alice", "login"),
    ]


def test_each_user_logs_in_by_key(bed: Testbed) -> None:
    for user in bed.site.users:
        with login(bed, user, by_key=True) as client:
            assert ssh(client, "id -u") == str(user.uid)


def test_wrong_password_is_refused(bed: Testbed) -> None:
    with (
        pytest.raises(paramiko.AuthenticationException),
        login(bed, bed.site.users[0], password="nope"),
    ):
        pass


def test_two_factor_user_needs_password_and_code(bed: Testbed) -> None:
    user = bed.site.two_factor
    assert user.totp_secret
    with contextlib.closing(connect(bed)) as transport:
        answer_prompts(transport, user, totp(user.totp_secret))
        with transport.open_session() as channel:
            channel.exec_command("id -un")
            assert channel.makefile("rb").read() == b"tfa\n"
    with (
        contextlib.closing(connect(bed)) as transport,
        pytest.raises(paramiko.AuthenticationException),
    ):
        answer_prompts(transport, user, totp(user.totp_secret, time.time() - 3600))


def test_two_factor_user_cannot_do_with_the_password_alone(bed: Testbed) -> None:
    with pytest.raises(paramiko.BadAuthenticationType), login(bed, bed.site.two_factor):
        pass


def test_two_factor_user_needs_a_code_beside_the_key(bed: Testbed) -> None:
    user = bed.site.two_factor
    key = paramiko.Ed25519Key.from_private_key_file(str(user.key))
    with contextlib.closing(connect(bed)) as transport:
        assert transport.auth_publickey(user.name, key) == ["keyboard-interactive"]
        assert not transport.is_authenticated()


def test_our_code_is_that_of_oathtool(bed: Testbed) -> None:
    secret = bed.site.two_factor.totp_secret
    assert secret
    command = ["oathtool", "--totp", "--now", "@1700000000", "-b", secret]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert told == totp(secret, 1700000000)


# -- Slurm ----------------------------------------------------------------------------------


def test_sinfo_shows_both_partitions_and_every_node(
    bed: Testbed, alice: paramiko.SSHClient
) -> None:
    slurm = bed.site.slurm
    assert set(ssh(alice, "sinfo -h -o %P").split()) == {"debug*", "batch"}
    nodes = dict(
        line.split() for line in ssh(alice, "sinfo -h -N -p batch -o '%N %G'").splitlines()
    )
    assert nodes == {
        **dict.fromkeys(slurm.cpu_nodes, "(null)"),
        **dict.fromkeys(slurm.gpu_nodes, "gpu:a100:2"),
    }


def test_a_job_completes_and_sacct_sees_it_when_squeue_does_not(alice: paramiko.SSHClient) -> None:
    job = ssh(alice, "sbatch --parsable --wrap 'id -un; echo $SLURM_JOB_ACCOUNT'")
    assert ssh(alice, f"squeue -h -t all -j {job} -o %i") == job
    completes(alice, job)
    assert ssh(alice, f"cat slurm-{job}.out").split() == ["alice", "project1"]
    eventually(lambda: ssh(alice, f"squeue -h -t all -j {job} 2>/dev/null || true"), "")
    completes(alice, job)


def test_a_gpu_job_gets_its_gpus(alice: paramiko.SSHClient) -> None:
    script = shlex.quote("echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES")
    job = ssh(alice, f"sbatch --parsable -p batch --gres=gpu:a100:2 --wrap {script}")
    completes(alice, job)
    node, gpus = ssh(alice, f"cat slurm-{job}.out").split()
    assert node.startswith("gpu") and gpus == "0,1"


def test_array_limit_and_unknown_account_are_enforced(alice: paramiko.SSHClient) -> None:
    ssh(alice, "sbatch --parsable -H --array 0-1000 --wrap true && scancel -u alice")
    for option in ("--array 0-1001", "-A nosuch"):
        with pytest.raises(AssertionError, match="error"):
            ssh(alice, f"sbatch {option} --wrap true")


def test_sreport_shows_the_usage_after_a_roll_up(bed: Testbed, alice: paramiko.SSHClient) -> None:
    completes(alice, ssh(alice, "sbatch --parsable --wrap 'sleep 2'"))
    bed.roll_up()
    hour = "start=$(date +%FT%H:00:00) end=$(date -d +1hour +%FT%H:00:00)"
    report = ssh(alice, f"sreport -n -P -t seconds cluster AccountUtilizationByUser {hour}")
    assert "project1|alice|" in report


# -- administration -------------------------------------------------------------------------


def test_the_administrator_administers_slurm_and_others_do_not(
    admin: paramiko.SSHClient, alice: paramiko.SSHClient
) -> None:
    ssh(admin, "sacctmgr -i add account project2 parent=research Description=d Organization=o")
    assert ssh(admin, "sacctmgr -n -P show account project2 format=account") == "project2"
    ssh(admin, "sacctmgr -i delete account project2")
    with pytest.raises(AssertionError, match=r"Access/permission denied|Only admins"):
        ssh(alice, "sacctmgr -i add account project3 Description=d Organization=o 2>&1")


def test_the_administrator_may_sudo_a_little(admin: paramiko.SSHClient) -> None:
    # A unique UID: an earlier user's sessions may still be open.
    ssh(admin, "sudo -n useradd -m -u 29001 local1 && id local1")
    ssh(admin, "sudo -n chpasswd", "local1:some password\n")
    ssh(admin, "sudo -n usermod -s /bin/sh local1 && sudo -n groupadd team1")
    ssh(admin, "sudo -n userdel -r local1; ! id local1")
    with pytest.raises(AssertionError, match="password is required"):
        ssh(admin, "sudo -n cat /etc/shadow")


def test_a_user_added_to_ldap_logs_in_at_once_and_submits(
    bed: Testbed, admin: paramiko.SSHClient
) -> None:
    dora = make_person(bed, admin, "dora.o-brien", bed.site.ldap.first_free_uid)
    with login(bed, dora) as client:
        assert ssh(client, "pwd; ls -A").split()[0] == f"/home/{dora.name}"
        with pytest.raises(AssertionError, match="Invalid account"):
            ssh(client, "sbatch --wrap true")
        ssh(admin, f"sacctmgr -i add user {dora.name} account=project1")
        completes(client, ssh(client, "sbatch --parsable --wrap true"))
    ssh(admin, f"sacctmgr -i delete user {dora.name}")
    ssh(admin, f"{ldap_admin(bed.site, 'ldapdelete')} uid={dora.name},{bed.site.ldap.people}")
    with pytest.raises(paramiko.AuthenticationException), login(bed, dora):
        pass


def test_an_expired_ldap_user_is_refused_even_with_a_key(
    bed: Testbed, admin: paramiko.SSHClient
) -> None:
    bob = bed.site.users[1]
    modify = ldap_admin(bed.site, "ldapmodify")
    dn = f"dn: uid={bob.name},{bed.site.ldap.people}\nchangetype: modify\n"
    ssh(admin, modify, f"{dn}replace: shadowExpire\nshadowExpire: 1\n")
    with pytest.raises((paramiko.SSHException, EOFError)), login(bed, bob, by_key=True) as client:
        ssh(client, "id")
    ssh(admin, modify, f"{dn}delete: shadowExpire\n")
    with login(bed, bob, by_key=True):
        pass


@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
def test_the_portal_database_is_used_from_the_login_node(
    bed: Testbed, admin: paramiko.SSHClient, server: str
) -> None:
    portal = bed.site.postgresql if server == "postgresql" else bed.site.mariadb
    where = f"-h {portal.host} -U {portal.user} -At {portal.name}"
    client = {
        "postgresql": f"PGPASSWORD={portal.password} psql -v ON_ERROR_STOP=1 {where}",
        "mariadb": f"MYSQL_PWD={portal.password} mariadb -N -u {portal.user} {portal.name}",
    }[server]
    ssh(admin, client, "insert into users (username, email, full_name) values ('é', 'e@x', 'É🙂');")
    ssh(admin, client, "insert into sessions (user_id) select id from users where username = 'é';")
    rows = "select full_name from users join sessions on user_id = users.id;"
    assert ssh(admin, client, rows) == "É🙂"
    ssh(admin, client, "delete from users where username = 'é';")
    assert ssh(admin, client, "select count(*) from sessions;") == "0"


def test_the_administrator_is_postgres_through_sudo(admin: paramiko.SSHClient) -> None:
    names = ssh(
        admin, "cd / && sudo -n -u postgres psql -At -d portal", "select username from users"
    )
    assert {"alice", "bob", "carol"} <= set(names.split())


# -- outages ----------------------------------------------------------------------------------

PROBES = {
    "postgresql": "pg_isready -q",
    "mariadb": "mariadb -uportal -pportal-pw portal -e 'select 1'",
    "slapd": "ldapsearch -x -s base",
    "slurmdbd": "timeout 5 sacct -n",
    "slurmctld": "timeout 3 squeue -h",
    "munge": "munge -n | unmunge",
}


@pytest.mark.parametrize("name", PROBES)
def test_a_daemon_goes_down_and_comes_back(
    bed: Testbed, admin: paramiko.SSHClient, name: str
) -> None:
    ssh(admin, PROBES[name])
    bed.daemon("stop", name)
    try:
        with pytest.raises(AssertionError):
            ssh(admin, PROBES[name])
    finally:
        bed.daemon("start", name)
    ssh(admin, PROBES[name])


def test_everything_works_after_the_outages(bed: Testbed, alice: paramiko.SSHClient) -> None:
    assert testbed.run(bed.site.state, "status").count(" up\n") == 14
    completes(alice, ssh(alice, "sbatch --parsable --wrap true"))


# -- what it is to the host -------------------------------------------------------------------


def test_a_second_start_is_a_no_op_that_says_so(bed: Testbed) -> None:
    before = bed.machine.pid
    assert testbed.run(bed.site.state, "start").startswith("The testbed is up already.")
    assert bed.machine.pid == before


def test_commands_run_inside_as_root(bed: Testbed) -> None:
    inside = testbed.run(bed.site.state, "exec", "sh", "-c", "id -un; hostname; cat /proc/1/comm")
    assert inside.split() == ["root", "login", "bash"]


def test_all_ports_are_on_loopback_alone(bed: Testbed) -> None:
    listening = {}
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            address, state = line.split()[1], line.split()[3]
            host, port = address.split(":")
            if state == "0A" and int(port, 16) in bed.site.ports():
                listening[int(port, 16)] = host
    assert listening == dict.fromkeys(bed.site.ports(), "0100007F")


def test_the_host_is_left_alone(bed: Testbed, alice: paramiko.SSHClient) -> None:
    assert host_state() == HOST_BEFORE
    assert not Path("/home/alice").exists()
    assert " /srv " not in Path("/proc/mounts").read_text()
    with pytest.raises(RuntimeError, match="Read-only file system"):
        bed.machine.run(["touch", "/usr/bin/new"])


def test_state_outlives_a_stop_and_no_process_does(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    need(testbed.reason_unavailable())
    state = tmp_path_factory.mktemp("testbed")
    machine = Machine(state)
    with testbed.running(state) as bed, login(bed, bed.site.users[0]) as client:
        ssh(client, "echo here >note; sbatch --wrap 'setsid sleep 1000'")
        ssh(client, "setsid sleep 1000 >/dev/null 2>&1 </dev/null &")
        processes = machine.processes()
        assert len(processes) > 14
    assert not [pid for pid in processes if is_alive(pid)]
    assert machine.pid is None and (state / "home/alice/note").read_text() == "here\n"
    testbed.run(state, "start")
    assert machine.pid is not None
    testbed.run(state, "reset")
    assert machine.pid is None and not state.exists()
    assert host_state() == HOST_BEFORE


def is_alive(pid: int) -> bool:
    """Return True if a process of the host runs, and is not just waiting to be reaped."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_port_in_use_is_named_before_anything_starts(tmp_path: Path, bed: Testbed) -> None:
    port = str(bed.site.ssh.port)
    with pytest.raises(RuntimeError, match=f"port {port}: Address already in use"):
        testbed.run(tmp_path / "state", "start", "--port", port)
    assert Machine(tmp_path / "state").pid is None


def test_what_it_provides_is_the_same_in_the_file(bed: Testbed) -> None:
    site = bed.site
    assert site == describe_site(site.state, site.ssh.port, site.slurm.min_job_age)
