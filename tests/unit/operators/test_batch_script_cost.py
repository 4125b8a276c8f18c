"""Batch scripts of the worst shapes: prepared in linear time and memory."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from operators.slurm.scripts.batch_script import with_preparation

MANY = 1 << 20


@pytest.mark.parametrize(
    "script",
    [
        "#!/usr/bin/python3 x" + " " * MANY + "y\n",
        "#!/usr/bin/python3" + " y" * (MANY // 2) + "\n",
        "#!/bin/sh\n" + "\n" * MANY,
        "#!/bin/sh\n" + "#\n" * (MANY // 2) + "true\n",
        "#!/bin/sh\n" + " " * MANY + "\n",
        "#!" + "/" * MANY,
        "#!/x\n" + "".join(f"END_OF_SCRIPT{'_' * number}\n" for number in range(1400)),
    ],
)
def test_preparation_of_a_long_script_is_cheap(script: str) -> None:
    began = time.process_time()
    tracemalloc.start()
    try:
        prepared = with_preparation(script, "export A=1\n")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "export A=1\n" in prepared
    assert time.process_time() - began < 5.0
    assert peak < 120 * len(script)


def test_end_of_the_script_is_none_of_its_lines() -> None:
    prepared = with_preparation("#!/x\nEND_OF_SCRIPT\nEND_OF_SCRIPT_\n", "")
    assert "<<'END_OF_SCRIPT__' " in prepared
