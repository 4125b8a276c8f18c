"""`python -m bench.api_memory`: print the memory of a starting API process, stage by stage.

Started by `bench.profile` with the settings of a service, in a separate process: the modules that
it measures must not be loaded before.
"""

from __future__ import annotations

import os
from pathlib import Path


def resident_mib() -> float:
    """Return the resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def main() -> None:
    """Go through the stages of an API's start, and print the memory after each."""
    print(f"{resident_mib():>8.1f}  the interpreter")
    import api.main  # noqa: F401
    from resop.actions.catalog import load_catalog
    from resop.config.settings import load_settings

    print(f"{resident_mib():>8.1f}  with all imports of the API")
    catalog = load_catalog(load_settings().operator_folders)
    print(f"{resident_mib():>8.1f}  with the options of {len(list(catalog))} actions")


if __name__ == "__main__":
    main()
