"""A small HPC centre on one Debian 12 machine: Slurm, LDAP, SSH and databases, all real.

It runs in private namespaces and does not change the host's /etc, accounts or processes.
"""
