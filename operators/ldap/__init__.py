"""The site's LDAP directory: people, groups, passwords."""
