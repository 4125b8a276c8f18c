"""The site's LDAP directory: users, groups and passwords."""
