"""The frames between the service and a runner."""

import os

import pytest

from resop.ssh.runner.remote import protocol


def test_frames_come_out_as_they_went_in() -> None:
    sent = [(kind, kind * 7, os.urandom(kind * 40)) for kind in range(1, 60)]
    data = b"".join(protocol.frame(*each) for each in sent)
    for step in (1, 7, 100, len(data)):
        frames = protocol.Frames()
        pieces = [data[at : at + step] for at in range(0, len(data), step)]
        assert [each for piece in pieces for each in frames.feed(piece)] == sent
    with pytest.raises(ValueError, match="a frame of"):
        protocol.Frames(10).feed(protocol.frame(1, 1, bytes(11)))
