"""The Celery application: nothing in the environment changes how it uses Redis."""

from __future__ import annotations

from pathlib import Path

import pytest

from resop.config.settings import Settings
from resop.errors import InvalidSettings
from resop.messaging.task_queue import CELERY_VARIABLES, celery_app


def test_remote_control_events_and_results_are_off(tmp_path: Path) -> None:
    app = celery_app(Settings(DATA_DIR=tmp_path))
    assert not app.conf.worker_enable_remote_control
    assert not app.conf.worker_send_task_events
    assert not app.conf.task_send_sent_event
    assert app.conf.result_backend is None and app.conf.task_ignore_result
    assert app.conf.accept_content == ["json"]


@pytest.mark.parametrize("name", CELERY_VARIABLES)
def test_variable_that_celery_would_obey_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "redis://attacker")
    with pytest.raises(InvalidSettings, match=f"{name} must not be set"):
        celery_app(Settings(DATA_DIR=tmp_path))


def test_key_is_in_no_description_of_the_application(tmp_path: Path) -> None:
    settings = Settings(DATA_DIR=tmp_path)
    app = celery_app(settings)
    signer = app.conf.broker_transport_options["signer"]
    text = str(app.conf.humanize()) + repr(app.conf.broker_transport_options)
    for key in (settings.secret_key(), *signer._keys):
        assert repr(key)[2:-1] not in text and key.hex() not in text
