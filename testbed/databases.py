"""MariaDB and PostgreSQL, each with the `portal` database of a web portal; nothing is fsynced."""

from pathlib import Path

from testbed import files, slurm
from testbed.daemon import Daemon
from testbed.machine import Machine
from testbed.site import SiteDescription

_PORTAL_POSTGRESQL = """
create table users (
    id bigserial primary key,
    username text not null unique,
    email text not null,
    full_name text not null,
    password_hash text,
    role text not null default 'user' check (role in ('user', 'admin')),
    enabled boolean not null default true,
    created_at timestamptz not null default now()
);
create table sessions (
    id bigserial primary key,
    user_id bigint not null references users (id) on delete cascade,
    node text,
    slurm_job_id bigint,
    started_at timestamptz not null default now(),
    ended_at timestamptz
);
"""

_PORTAL_MARIADB = """
create table users (
    id bigint auto_increment primary key,
    username varchar(64) not null unique,
    email varchar(255) not null,
    full_name varchar(255) not null,
    password_hash varchar(255),
    role varchar(8) not null default 'user' check (role in ('user', 'admin')),
    enabled boolean not null default true,
    created_at datetime(6) not null default current_timestamp(6)
);
create table sessions (
    id bigint auto_increment primary key,
    user_id bigint not null,
    node varchar(255),
    slurm_job_id bigint,
    started_at datetime(6) not null default current_timestamp(6),
    ended_at datetime(6),
    foreign key (user_id) references users (id) on delete cascade
);
"""

_MARIADB_CLIENT = """\
[client]
host={mariadb.host}
port={mariadb.port}
protocol=tcp
default-character-set=utf8mb4
"""
# It outlives a kill: what is committed is with the kernel, which is all that a testbed needs.
_MARIADB_OPTIONS = (
    *("--innodb-flush-log-at-trx-commit=2", "--innodb-flush-method=nosync"),
    *("--innodb-buffer-pool-size=128M", "--innodb-log-file-size=32M"),
    *("--innodb-lock-wait-timeout=900", "--max-allowed-packet=64M"),  # as slurmdbd wants it
    *("--character-set-server=utf8mb4", "--skip-name-resolve", "--skip-log-bin"),
)
_POSTGRESQL_OPTIONS = (
    *("-c", "fsync=off", "-c", "shared_buffers=32MB", "-c", "max_connections=50"),
    *("-c", "unix_socket_directories=/run/postgresql"),
)
_MARIADB_ROOT = ("mariadb", "--no-defaults", "--socket=/run/mysqld/mysqld.sock", "-uroot")


def prepare(site: SiteDescription) -> None:
    """Tell the clients of MariaDB where it is. (Those of PostgreSQL read PGPORT.)"""
    client = _MARIADB_CLIENT.format(mariadb=site.mariadb)
    files.write(site.state / "etc" / "mysql" / "conf.d" / "testbed.cnf", client)


def daemons(site: SiteDescription) -> list[Daemon]:
    """mariadb and postgresql."""
    listen = (f"--port={site.mariadb.port}", f"--bind-address={site.mariadb.host}")
    where = ("--datadir=/srv/mariadb", "--socket=/run/mysqld/mysqld.sock")
    port = str(site.postgresql.port)
    address = ("-p", port, "-c", f"listen_addresses={site.postgresql.host}")
    server = str(_postgresql_bin() / "postgres")
    return [
        Daemon(
            name="mariadb",
            command=("/usr/sbin/mariadbd", "--no-defaults", *where, *listen, *_MARIADB_OPTIONS),
            user="mysql",
            ready=(*_MARIADB_ROOT, "-e", "select 1"),
            prepare=_prepare_mariadb,
            seed=lambda machine: _seed_mariadb(site, machine),
        ),
        Daemon(
            name="postgresql",
            command=(server, "-D", "/srv/postgresql", *address, *_POSTGRESQL_OPTIONS),
            user="postgres",
            ready=("pg_isready", "-q", "-p", port),
            prepare=_prepare_postgresql,
            seed=lambda machine: _seed_postgresql(site, machine),
            stop_signal="INT",  # TERM would wait for the clients to go
        ),
    ]


def _postgresql_bin() -> Path:
    """The newest of the installed ones."""
    found = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    return max(found, key=lambda server: int(server.parts[-3])).parent


def _prepare_mariadb(machine: Machine) -> None:
    files.folder(machine.inside("/run/mysqld"), owner="mysql")
    command = (
        *("mariadb-install-db", "--no-defaults", "--user=mysql", "--datadir=/srv/mariadb"),
        # root is whoever is root on the machine, through the socket
        *("--auth-root-authentication-method=socket", "--skip-test-db", "--skip-name-resolve"),
    )
    files.data(machine.state / "srv" / "mariadb", "mysql", lambda: _run(machine, command))


def _prepare_postgresql(machine: Machine) -> None:
    run = files.folder(machine.inside("/run/postgresql"), owner="postgres")
    folder = machine.state / "srv" / "postgresql"
    command = (
        *(str(_postgresql_bin() / "initdb"), "-D", "/srv/postgresql", "--encoding=UTF8"),
        *("--locale=C.UTF-8", "--no-sync", "--auth=peer", "--auth-host=scram-sha-256"),
    )
    files.data(folder, "postgres", lambda: _run(machine, command, user="postgres"))
    # of one that was killed: its number may be another's by now
    for left in (folder / "postmaster.pid", *run.iterdir()):
        left.unlink(missing_ok=True)


def _run(machine: Machine, command: tuple[str, ...], user: str | None = None) -> None:
    machine.run(command, user=user)


def _insert_users(site: SiteDescription) -> str:
    rows = (f"('{user.name}', '{user.name}@hpc.example', '{user.name}')" for user in site.users)
    return f"insert into users (username, email, full_name) values {', '.join(rows)};\n"  # noqa: S608


def _seed_mariadb(site: SiteDescription, machine: Machine) -> None:
    portal = site.mariadb
    sql = f"""
create or replace database {slurm.DATABASE};
create or replace user slurm@'127.0.0.1' identified by '{slurm.DATABASE_PASSWORD}';
grant all on {slurm.DATABASE}.* to slurm@'127.0.0.1';
create or replace database {portal.name};
create or replace user {portal.user}@'127.0.0.1' identified by '{portal.password}';
grant all on {portal.name}.* to {portal.user}@'127.0.0.1';
use {portal.name};
{_PORTAL_MARIADB}{_insert_users(site)}"""
    marker = machine.state / "srv" / "portal-mariadb.made"
    files.once(marker, lambda: _feed(machine, _MARIADB_ROOT, sql))


def _seed_postgresql(site: SiteDescription, machine: Machine) -> None:
    portal = site.postgresql
    psql = ("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-p", str(portal.port))
    sql = f"""
drop database if exists {portal.name};
drop role if exists {portal.user};
create role {portal.user} login password '{portal.password}';
create database {portal.name} owner {portal.user};
\\connect {portal.name}
set role {portal.user};
{_PORTAL_POSTGRESQL}{_insert_users(site)}"""
    marker = machine.state / "srv" / "portal-postgresql.made"
    files.once(marker, lambda: _feed(machine, psql, sql, user="postgres"))


def _feed(machine: Machine, command: tuple[str, ...], text: str, user: str | None = None) -> None:
    machine.run(command, user=user, text=text)
