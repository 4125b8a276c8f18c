from datetime import timedelta

from resop.storage.ids import creation_time, lower_bound, new_id


def test_id_is_found_by_its_creation_time() -> None:
    made = new_id()
    moment = creation_time(made)
    assert lower_bound(moment) <= made < lower_bound(moment + timedelta(milliseconds=1))
