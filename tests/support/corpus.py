"""Strings that hurt whoever lets a shell read them, and others that break careless programs."""


def hurtful(made: str) -> list[str]:
    """Strings that leave a file at the path `made` if any shell reads them."""
    do = f"touch {made}"
    return [
        f"$({do})",
        f"`{do}`",
        f"x; {do}; x | {do} & {do} && {do} || {do} #",
        f"x\n{do}\n",
        f"x'; {do}; '",
        f'x"; {do}; "',
        f"\\'; {do}; \\\"; {do}; \\\\",
        f"a'\"$({do})`{do}`\n{do}\n'",
        f"${{x:-$({do})}}$((`{do}`))",
        f"> {made}",
        f"-e$({do})",
        f"/tmp/$({do})",
        f"x=$({do})",
        f"x,'$({do})'@`{do}`",
    ]


ODD = [
    "",
    " ",
    "-",
    "--",
    "-rf",
    "--help",
    "-oProxyCommand=id",
    "..",
    "../../../../etc/shadow",
    "~root",
    "*",
    "%",
    "%s%n%d",
    "%00",
    "{{n}}",
    "!!",
    "\x00",
    "a\x00b",
    "\x01\x7f\x9b",
    "\x1b[31m",
    "\r\n",
    "\n.\n",
    "dn: cn=x\nchangetype: delete",
    "cn=a,b+c=d)(|(uid=*",
    "'; DROP TABLE users; --",
    "\\! id",
    "e\u0301\u202e\u2028\ufeff🚀",
    "9" * 5000,
    "1e999",
    "NaN",
    "'" * 5000,
    "x" * 200_000,
]
"""Those that mean something to somebody."""
