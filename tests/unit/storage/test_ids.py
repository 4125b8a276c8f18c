from datetime import timedelta

from resop.storage.ids import first_id, made_at, new_id


def test_an_id_is_found_by_the_moment_it_says_it_was_made_at() -> None:
    made = new_id()
    moment = made_at(made)
    assert first_id(moment) <= made < first_id(moment + timedelta(milliseconds=1))
