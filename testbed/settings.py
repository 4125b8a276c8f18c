"""The settings of a resop in front of a testbed, as lines of config.env."""

from __future__ import annotations

from testbed.site import SiteDescription


def settings(site: SiteDescription) -> dict[str, str]:
    """Return the settings by name, including passwords of services."""
    portal = site.postgresql
    values = {
        "CLUSTER_NAME": "testbed",
        "CLUSTER_ADDRESS": site.ssh.host,
        "CLUSTER_SSH_PORT": site.ssh.port,
        "KNOWN_HOSTS": site.ssh.known_hosts,
        "ADMINISTRATORS": site.admin.name,
        "LDAP_URI": site.ldap.uri,
        "LDAP_BIND_DN": site.ldap.bind_dn,
        "LDAP_BIND_PASSWORD": site.ldap.password,
        "LDAP_PEOPLE": site.ldap.people,
        "LDAP_GROUPS": site.ldap.groups,
        "LDAP_FIRST_UID": site.ldap.first_free_uid,
        "LDAP_FIRST_GID": site.ldap.gid + 1000,
        "LDAP_GID": site.ldap.gid,
        "PORTAL_ENGINE": "postgresql",
        "PORTAL_HOST": portal.host,
        "PORTAL_PORT": portal.port,
        "PORTAL_DATABASE": portal.name,
        "PORTAL_USER": portal.user,
        "PORTAL_PASSWORD": portal.password,
    }
    return {name: str(value) for name, value in values.items()}


def lines(site: SiteDescription) -> str:
    """Return the settings as lines of a config.env."""
    return "\n".join(f"{name}={value}" for name, value in settings(site).items())
