"""The text of an API key: recognized by its form, refused if a character is wrong."""

import re
import secrets
import string

import pytest

from resop.errors import TokenRefused
from resop.security.api_keys import ApiKeyText
from resop.storage.ids import new_id


def new_key() -> ApiKeyText:
    return ApiKeyText.new(new_id())


def test_a_key_is_read_back_and_recognized_by_scanners() -> None:
    for _ in range(20):
        key = new_key()
        assert re.fullmatch(r"resop_[0-9A-Za-z]{71}", key.text)
        assert ApiKeyText.parse(key.text) == key


def test_every_wrong_character_is_noticed() -> None:
    text = new_key().text
    for place in range(len("resop_"), len(text)):
        other = secrets.choice([each for each in string.ascii_letters if each != text[place]])
        with pytest.raises(TokenRefused):
            ApiKeyText.parse(text[:place] + other + text[place + 1 :])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: "resop_",
        lambda text: text[:-1],
        lambda text: text + "0",
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text.upper(),
        lambda text: text.replace("resop_", "other_"),
        lambda text: "resop_" + "é" * 71,
        lambda text: "resop_" + "0" * 1_000_000,
    ],
)
def test_what_is_no_key_is_refused(spoil: object) -> None:
    assert callable(spoil)
    with pytest.raises(TokenRefused):
        ApiKeyText.parse(spoil(new_key().text))


def test_a_number_of_more_than_384_bits_is_refused() -> None:
    from resop.security.api_keys import _checksum

    content = "z" * 65
    with pytest.raises(TokenRefused, match="not an API key of this service"):
        ApiKeyText.parse(f"resop_{content}{_checksum(content)}")


def test_digest_and_key_share_tell_nothing_of_each_other_or_the_secret() -> None:
    key, same_id = new_key(), None
    same_id = ApiKeyText.new(key.id)
    stored, derived = key.digest, key.key_share
    assert len({stored, derived, key.secret.hex(), same_id.digest, same_id.key_share}) == 5
    assert len(bytes.fromhex(derived)) == 32
    assert key.secret.hex() not in repr(key) and key.text not in repr(key)
