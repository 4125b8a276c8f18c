"""A small HPC centre on one Debian 12 machine: Slurm, LDAP, SSH and databases, all real.

It runs in namespaces of its own: the host's /etc, accounts and processes are left alone.
"""
