"""Strings that cause harm if a shell parses them, and strings that break careless programs."""


def hurtful(marker: str) -> list[str]:
    """Return strings that create a file at the path `marker` if any shell parses them."""
    do = f"touch {marker}"
    return [
        f"$({do})`{do}`",
        f"x; {do}; x | {do} & {do} && {do} || {do} #",
        f"x\n{do}\n",
        f"x'; {do}; '",
        f'x"; {do}; "',
        f"\\'; {do}; \\\"; {do}; \\\\",
        f"a'\"$({do})`{do}`\n{do}\n'",
        f"> {marker}",
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
"""Strings with a special meaning to some program, and extreme ones."""
