"""The object classes and attributes of the site's users: settings, with usual ones by default."""

from __future__ import annotations

from dataclasses import dataclass

from operators.ldap.settings import attributes_setting, fill_in, words_setting
from resop import Shell

USER_CLASSES = ("inetOrgPerson", "posixAccount", "shadowAccount")
KEY_ATTRIBUTE, KEY_CLASS = "sshPublicKey", "ldapPublicKey"
ALIAS_ATTRIBUTE = "mail"


@dataclass(frozen=True, slots=True)
class ExtraAttribute:
    """An attribute that not every user has, and the auxiliary class that permits it."""

    name: str
    object_class: str | None


def user_classes(shell: Shell) -> list[str]:
    """Return the object classes of new users: the setting LDAP_USER_CLASSES."""
    return words_setting(shell, "LDAP_USER_CLASSES") or list(USER_CLASSES)


def further_attributes(shell: Shell, values: dict[str, str]) -> dict[str, list[str]]:
    """Return further attributes of new users: LDAP_USER_ATTRIBUTES, with `{username}` and others.

    Raises OperationFailed for what is not JSON, and for names that have no value here.
    """
    name = "LDAP_USER_ATTRIBUTES"
    return {
        attribute: [fill_in(shell, name, text, values) for text in texts]
        for attribute, texts in attributes_setting(shell, name).items()
    }


def home_folder(shell: Shell, username: str) -> str:
    """Return the home folder of a new user: LDAP_HOME, with `{username}` and `{initial}`."""
    values = {"username": username, "initial": username[0]}
    return fill_in(shell, "LDAP_HOME", shell.setting("LDAP_HOME", "/home/{username}"), values)


def key_attribute(shell: Shell) -> ExtraAttribute:
    """Return the attribute for SSH keys: LDAP_SSH_KEY_ATTRIBUTE and LDAP_SSH_KEY_CLASS."""
    name = shell.setting("LDAP_SSH_KEY_ATTRIBUTE", KEY_ATTRIBUTE)
    default = KEY_CLASS if name == KEY_ATTRIBUTE else ""
    return ExtraAttribute(name, shell.setting("LDAP_SSH_KEY_CLASS", default) or None)


def alias_attribute(shell: Shell) -> ExtraAttribute:
    """Return the attribute for mail aliases: LDAP_MAIL_ALIAS_ATTRIBUTE and …_CLASS.

    By default the aliases are further values of `mail`.
    """
    name = shell.setting("LDAP_MAIL_ALIAS_ATTRIBUTE", ALIAS_ATTRIBUTE)
    return ExtraAttribute(name, shell.setting("LDAP_MAIL_ALIAS_CLASS", "") or None)
