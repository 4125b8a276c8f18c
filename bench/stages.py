"""`python -m bench.stages`: what an API process has taken in memory, stage by stage.

To be run by `bench.profile` with the settings of a service, in a process of its own: nothing that
is looked for here may be there before.
"""

from __future__ import annotations

import os
from pathlib import Path


def resident() -> float:
    """MiB of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def main() -> None:
    """Go the way of an API's start, and print how far it has come."""
    print(f"{resident():>8.1f}  the interpreter")
    import api.main  # noqa: F401
    from resop.actions.catalog import load_catalog
    from resop.config.settings import load_settings

    print(f"{resident():>8.1f}  with all that the API imports")
    catalog = load_catalog(load_settings().operator_folders)
    print(f"{resident():>8.1f}  with the options of {len(list(catalog))} actions")


if __name__ == "__main__":
    main()
