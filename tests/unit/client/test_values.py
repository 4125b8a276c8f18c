"""Small parts of the client: errors, stored logins, arguments of sweeps, tables."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import resop.errors
from resop_client import errors
from resop_client.connection_choice import choose_login, service_url
from resop_client.login_store import Login, LoginStore
from resop_client.progress import ProgressLine
from resop_client.sweep_options import file_name, named_values, read_script, split_arguments
from resop_client.table import parse_file, table_of
from resop_client.transport import json_body


def test_each_error_of_the_service_has_a_class_below_the_same_base() -> None:
    for name, kind in vars(resop.errors).items():
        if not isinstance(kind, type) or not issubclass(kind, resop.errors.ResopError):
            continue
        if issubclass(kind, resop.errors.SetupError):
            continue  # no client ever sees it
        same = getattr(errors, name)
        bases = [each.__name__ for each in kind.__mro__ if each.__module__ == "resop.errors"]
        found = [each.__name__ for each in same.__mro__ if each.__module__ == "resop_client.errors"]
        assert found == bases


def test_a_login_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    store = LoginStore(tmp_path / "resop" / "logins")
    login = Login("https://x", "secret", "ada", "hpc", "2999-01-01T00:00:00Z", "")
    store.save("default", login)
    file = store.folder / "default.json"
    assert file.stat().st_mode & 0o777 == 0o600 and store.folder.stat().st_mode & 0o077 == 0
    assert store.load("default") == login and store.profiles() == ["default"]
    file.write_text("{")
    assert store.load("default") is None
    store.remove("default")
    store.remove("default")
    assert store.load("default") is None and list(store.folder.iterdir()) == []
    for name in ("../x", "", "a/b", ".x"):
        with pytest.raises(errors.RequestError, match="profile"):
            store.load(name)


class Ring:
    """A keyring in memory."""

    def __init__(self) -> None:
        self.secrets: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.secrets.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.secrets[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.secrets[service, username]


def test_a_keyring_keeps_the_token_out_of_the_file(tmp_path: Path) -> None:
    store, login = LoginStore(tmp_path, Ring()), Login("https://x", "secret")
    store.save("default", login)
    assert "secret" not in (tmp_path / "default.json").read_text()
    assert store.load("default") == login
    store.remove("default")
    store.remove("default")
    assert store.load("default") is None


def test_a_given_value_counts_before_the_environment_and_that_before_the_kept_login(
    tmp_path: Path,
) -> None:
    store = LoginStore(tmp_path)
    store.save("default", Login("https://kept", "kept"))

    def chosen(url: str | None, token: str | None, **environ: str) -> tuple[str, str]:
        login = choose_login(url, token, "default", store, environ)
        return login.url, login.token

    assert chosen(None, None) == ("https://kept", "kept")
    assert chosen("kept/", None) == ("https://kept", "kept")
    assert chosen(None, "given") == ("https://kept", "given")
    assert chosen("other", None) == ("https://other", "")
    assert chosen(None, None, RESOP_URL="http://e:1/r/") == ("http://e:1/r", "")
    assert chosen("a", "b", RESOP_URL="http://e", RESOP_TOKEN="t") == ("https://a", "b")
    assert chosen(None, None, RESOP_TOKEN="t") == ("https://kept", "t")
    for wrong in ("ftp://x", "http://", "http://x?y=1", "http://x#y"):
        with pytest.raises(errors.RequestError, match="not the address"):
            service_url(wrong)


class Array:
    """Like an array of numpy."""

    def tolist(self) -> list[float]:
        return [0.1, 0.2]


def test_names_in_capitals_are_parameters() -> None:
    parameters, options = split_arguments(
        {"X0": Array(), "SEED": range(1, 10, 2), "MODEL": "a", "partition": "batch", "N": (1, 2)}
    )
    assert parameters == {
        "X0": [0.1, 0.2],
        "SEED": {"start": 1, "stop": 9, "step": 2},
        "MODEL": ["a"],
        "N": [1, 2],
    }
    assert options == {"partition": "batch"}
    assert named_values({"n": {"start": 1, "stop": 3}}) == {"n": {"start": 1, "stop": 3}}
    with pytest.raises(errors.RequestError, match="X: the range has no values"):
        named_values({"X": range(0)})
    assert file_name("out-{index}-{X0}.csv") == "out-%a-$X0.csv"


def test_a_script_is_a_file_or_its_text(tmp_path: Path) -> None:
    text = "#!/bin/sh\necho\n"
    (tmp_path / "run.sh").write_text(text)
    assert read_script(text) == read_script(tmp_path / "run.sh") == text
    with pytest.raises(errors.RequestError, match="No such file"):
        read_script(str(tmp_path / "none.sh"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(errors.RequestError, match="not a text file"):
        read_script(tmp_path / "binary")


def test_values_of_other_libraries_are_sent_as_json() -> None:
    assert json_body({"a": Array(), "b": range(3), "c": {2, 1}, "d": Path("/x")}) == (
        b'{"a":[0.1,0.2],"b":[0,1,2],"c":[1,2],"d":"/x"}'
    )
    with pytest.raises(TypeError, match="cannot be sent"):
        json_body({"a": object()})


def test_results_are_a_table(tmp_path: Path) -> None:
    table = table_of([{"index": 0, "X": 1.5}, {"index": 1, "out": {"a": "é"}}])
    assert table.columns == ["index", "X", "out"]
    assert table.column("X") == [1.5, None] and table[1].index == 1
    text = table.to_csv(tmp_path / "t.csv")
    assert text == 'index,X,out\r\n0,1.5,\r\n1,,"{""a"": ""é""}"\r\n'
    assert (tmp_path / "t.csv").read_bytes().decode() == text
    assert parse_file("a.json", '{"x": 1}').x == 1
    assert parse_file("a.csv", "x,y\n1,2\n") == [{"x": "1", "y": "2"}]
    assert [parse_file("n", each) for each in (" 42\n", "-7", "2.5e3\n", "text\n", "{", "")] == [
        *(42, -7, 2500.0, "text\n", "{", "")
    ]
    assert parse_file("a.json", "{") == "{"


class Terminal(io.StringIO):
    """A terminal in memory."""

    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal_only() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        show = ProgressLine("job 7", stream)
        show(0, 4)
        show(4, 4)
    assert file.getvalue() == ""
    assert "job 7 [" in terminal.getvalue() and terminal.getvalue().endswith("100% 0 s\x1b[K\n")
