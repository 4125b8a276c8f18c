"""An action's call: what its options mean, with and without secrets."""

from typing import Annotated

import pytest
from pydantic import Field

from resop.actions.call import ActionCall
from resop.actions.operation import operation
from resop.actions.shell import Shell
from resop.errors import InvalidOptions
from resop.security.encryption import Encryptor
from resop.types import MASK, Secret

KEY, OTHER_KEY = Encryptor(b"k" * 40), Encryptor(b"o" * 40)


@operation
def greet(
    shell: Shell,
    names: list[str],
    password: Secret | None = None,
    keys: dict[str, Secret] | None = None,
    times: Annotated[int, Field(ge=1)] = 1,
) -> None:
    """Greet people."""


greet.operator = "demo"


def test_values_are_the_given_options_only() -> None:
    call = ActionCall.check(greet, {"names": ["ada"], "times": 2})
    assert call.values == {"names": ["ada"], "times": 2}
    assert call.masked == call.values
    assert (call.secrets, call.secret_options) == ([], set())


def test_invalid_options_are_refused() -> None:
    with pytest.raises(InvalidOptions) as refused:
        ActionCall.check(greet, {"times": 0})
    assert {fault["field"] for fault in refused.value.details["faults"]} == {"names", "times"}


def test_secrets_are_masked_wherever_they_appear() -> None:
    options = {"names": ["not s3cret-1"], "password": "s3cret-1", "keys": {"a": "s3cret-2"}}
    call = ActionCall.check(greet, options)
    assert call.values == options
    assert call.masked == {"names": [f"not {MASK}"], "password": MASK, "keys": {"a": MASK}}
    assert sorted(call.secrets) == ["s3cret-1", "s3cret-2"]
    assert call.secret_options == {"password", "keys"}
    assert call.masker.text("it was s3cret-2") == f"it was {MASK}"


def test_a_short_secret_is_masked_as_a_value() -> None:
    call = ActionCall.check(greet, {"names": ["x"], "password": ""})
    assert call.masked["password"] == MASK


def test_equal_calls_have_equal_digests_and_others_have_not() -> None:
    def digest(key: Encryptor = KEY, **options: object) -> str:
        return ActionCall.check(greet, {"names": ["ada"], **options}).digest(key)

    assert digest(times=2, password="s3cret") == digest(password="s3cret", times=2)
    different = [digest(), digest(times=2), digest(password="s3cret"), digest(password="other")]
    assert len(set(different)) == len(different)
    assert digest(OTHER_KEY) != digest()
