"""Generated first passwords: strong enough, easy to type, refused where they contradict."""

import pytest
from pydantic import TypeAdapter

from operators.linux_user.hashes import Password
from operators.linux_user.passwords import first_password, generate_password
from resop import OperationFailed, Secret
from resop.testing import FakeShell


def shell(length: str | None = None) -> FakeShell:
    return FakeShell(settings={"GENERATED_PASSWORD_LENGTH": length} if length else {})


def test_generated_passwords_differ_have_all_kinds_of_characters_and_the_sites_length() -> None:
    for length, size in ((None, 16), ("12", 12), ("128", 128)):
        made = [generate_password(shell(length)).get_secret_value() for _ in range(200)]
        assert len({*made}) == 200 and {len(each) for each in made} == {size}
        for each in made:
            assert any(map(str.islower, each)) and any(map(str.isupper, each))
            assert any(map(str.isdigit, each)) and {*each} & {*"-_.+="}
            assert each[0].isalnum() and each[-1].isalnum()
            assert not {*each} & {*"0O1lI\"'\\\\$`:,; "}
            assert TypeAdapter(Password).validate_python(each)


def test_password_is_given_or_generated_and_never_both() -> None:
    given = Secret("correct horse")
    assert first_password(shell(), given, False) is given
    assert first_password(shell(), None, True).get_secret_value() != "correct horse"
    with pytest.raises(OperationFailed, match="not both"):
        first_password(shell(), given, True)
    for wrong in ("11", "129", "-16", "x", "１６", "1e9"):
        with pytest.raises(OperationFailed, match="must be 12 to 128"):
            generate_password(shell(wrong))
