"""MariaDB and PostgreSQL, each with the database of a web portal; without fsync."""

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
# Commits survive a kill, because the kernel has them. That suffices for a testbed.
_MARIADB_OPTIONS = (
    *("--innodb-flush-log-at-trx-commit=2", "--innodb-flush-method=nosync"),
    *("--innodb-buffer-pool-size=128M", "--innodb-log-file-size=32M"),
    *("--innodb-lock-wait-timeout=900", "--max-allowed-packet=64M"),  # slurmdbd requires these
    *("--character-set-server=utf8mb4", "--skip-name-resolve", "--skip-log-bin"),
)
_POSTGRESQL_OPTIONS = (
    *("-c", "fsync=off", "-c", "shared_buffers=32MB", "-c", "max_connections=50"),
    *("-c", "unix_socket_directories=/run/postgresql"),
)
_MARIADB_ROOT = ("mariadb", "--no-defaults", "--socket=/run/mysqld/mysqld.sock", "-uroot")


def prepare(site: SiteDescription) -> None:
    """Configure the clients of MariaDB. (Clients of PostgreSQL read PGPORT.)"""
    client = _MARIADB_CLIENT.format(mariadb=site.mariadb)
    files.write_file(site.state / "etc" / "mysql" / "conf.d" / "testbed.cnf", client)


def daemons(site: SiteDescription) -> list[Daemon]:
    """Return mariadb and postgresql."""
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
            stop_signal="INT",  # at TERM it would wait until all clients disconnect
        ),
    ]


def _postgresql_bin() -> Path:
    """Return the folder of the newest installed version's programs."""
    servers = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    return max(servers, key=lambda server: int(server.parts[-3])).parent


def _prepare_mariadb(machine: Machine) -> None:
    files.make_folder(machine.inside("/run/mysqld"), owner="mysql")
    command = (
        *("mariadb-install-db", "--no-defaults", "--user=mysql", "--datadir=/srv/mariadb"),
        # The machine's root user logs in as root through the socket.
        *("--auth-root-authentication-method=socket", "--skip-test-db", "--skip-name-resolve"),
    )
    files.make_data_folder(
        machine.state / "srv" / "mariadb", "mysql", lambda: _run(machine, command)
    )


def _prepare_postgresql(machine: Machine) -> None:
    run = files.make_folder(machine.inside("/run/postgresql"), owner="postgres")
    folder = machine.state / "srv" / "postgresql"
    command = (
        *(str(_postgresql_bin() / "initdb"), "-D", "/srv/postgresql", "--encoding=UTF8"),
        *("--locale=C.UTF-8", "--no-sync", "--auth=peer", "--auth-host=scram-sha-256"),
    )
    files.make_data_folder(folder, "postgres", lambda: _run(machine, command, user="postgres"))
    # Left by a killed server: its process ID may belong to another process now.
    for stale in (folder / "postmaster.pid", *run.iterdir()):
        stale.unlink(missing_ok=True)


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
    files.run_once(marker, lambda: _feed(machine, _MARIADB_ROOT, sql))


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
    files.run_once(marker, lambda: _feed(machine, psql, sql, user="postgres"))


def _feed(machine: Machine, command: tuple[str, ...], text: str, user: str | None = None) -> None:
    machine.run(command, user=user, text=text)
