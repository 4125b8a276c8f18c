"""Strings that hurt whoever lets a shell read them, and others that break careless programs."""


def hurtful(made: str) -> list[str]:
    """Strings that leave a file at the path `made` if any shell reads them."""
    do = f"touch {made}"
    return [
        f"$({do})`{do}`",
        f"x; {do}; x | {do} & {do} && {do} || {do} #",
        f"x\n{do}\n",
        f"x'; {do}; '",
        f'x"; {do}; "',
        f"\\'; {do}; \\\"; {do}; \\\\",
        f"a'\"$({do})`{do}`\n{do}\n'",
        f"> {made}",
        f"-e$({do})",
        f"/x=${{x:-$({do})}},@$((`{do}`))",
    ]


ODD = [
    "",
    "--",
    "-oProxyCommand=id",
    "..",
    "../../../../etc/shadow",
    "~root",
    "*",
    "%s%n%d",
    "%00",
    "\x00",
    "\x01\x7f\x9b",
    "\r\n",
    "\n.\n",
    "dn: cn=x\nchangetype: delete",
    "cn=a,b+c=d)(|(uid=*",
    "it's",
    'a "word',
    "'; DROP TABLE users; --",
    "\\! id",
    "e\u0301\u202e\u2028\ufeff🚀",
    "9" * 5000,
    "1e999",
    "'" * 5000,
    "x" * 200_000,
]
"""Those that mean something to somebody."""
