"""scripts/structure.py: the figures of a small tree, and its parts."""

from pathlib import Path

import pytest

from tests.support.scripts import load_script

structure = load_script("structure")

FILES = {
    "resop/__init__.py": "from resop.top import f\n",
    "resop/top.py": "import resop.low.a\nfrom resop.low import b\ndef f():\n import resop.side\n",
    "resop/side.py": "import json\nfrom resop.low.b import Shared\n",
    "resop/low/__init__.py": "",
    "resop/low/a.py": "from resop.low import b\nclass Shared: ...\n_Hidden = 1\nlog = 1\n",
    "resop/low/b.py": "class Shared: ...\n_Hidden = 1\nlog = 2\nONE: int = 1\n",
    "operators/x/operations/one.py": "def one(): ...\ndef helper(): ...\n",
    "operators/x/operations/two.py": "def one(): ...\ndef two(): ...\ndef helper(): ...\n",
}


@pytest.fixture
def modules(tmp_path: Path) -> object:
    for name, content in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return structure.read_modules(tmp_path)


def test_imports_and_levels_are_those_of_the_rooms(modules: object) -> None:
    assert structure.import_figures("resop", modules) == {
        "modules": 4,
        "rooms": 3,
        "levels of rooms": 3,  # top, side, low
        "levels of modules": 3,  # top, low.a, low.b
        "imports between rooms": 3,
    }


def test_a_cycle_is_one_level() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert structure.levels(graph) == 3


def test_names_of_several_modules_are_found_and_entries_are_not(modules: object) -> None:
    assert structure.shared_names(modules) == {
        "Shared": ["resop.low.a", "resop.low.b"],
        "helper": ["operators.x.operations.one", "operators.x.operations.two"],
    }


def test_large_functions_and_classes_are_found(tmp_path: Path) -> None:
    methods = "".join(f"    def m{n}(self): ...\n" for n in range(16))
    fields = "".join(f"        self.f{n} = 1\n" for n in range(12))
    source = (
        f"class Methods:\n{methods}"
        f"class Fields:\n    F: ClassVar[int] = 1\n    f: int\n    def __init__(self):\n{fields}"
        f"class Small:\n    def __init__(self):\n{fields}"
        "def long():\n" + "    x = 1\n" * 40
    )
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "x.py").write_text(source)
    module = structure.read_modules(tmp_path)["worker.x"]
    assert list(structure.big_classes(module)) == [
        "worker.x:Methods (16 methods, 0 fields)",
        "worker.x:Fields (1 methods, 13 fields)",
    ]
    assert list(structure.long_functions(module)) == ["worker.x:long (41 lines)"]
