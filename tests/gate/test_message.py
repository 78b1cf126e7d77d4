"""What conductor and worker tell each other arrives as it was said, whatever is in it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import msgspec
import pytest

from llm_latency.core.environment import Environment
from llm_latency.core.trace import Trace
from llm_latency.gate.message import (
    Called,
    Channel,
    Ended,
    Finished,
    Go,
    Imported,
    Job,
    Message,
    Ready,
    Reported,
    Stop,
)

# As os.fsdecode spells a byte that is no UTF-8.
UNDECODABLE = os.fsdecode(b"caf\xe9")
JOB = Job(side="base", run="a:b", arguments={"tests": ["t"]}, own="/o", home="/h", trees=("/o", "/h"), path=("", "/x"))


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """Both ends of a channel."""
    pair = socket.socketpair()
    channels = (Channel(pair[0].detach()), Channel(pair[1].detach()))
    yield channels
    for channel in channels:
        channel.close()


@pytest.mark.parametrize(
    "message",
    [
        JOB,
        Imported(files={"a": "a.py"}, versions={}, modules=("b",) * 5000),
        Ready(test="t", name="n", index=2, threads=4, used=1 << 40, free=None),
        Called(trace=Trace(start_ns=1, stop_ns=1 << 62)),
        Ended(test="t\n", index=1, problem="☃", environment=Environment(device="cpu")),
        Reported(test="x" * 100_000, outcome="failed", text="\0"),
        Finished(problem=""),
        Go(stage="cold", spin_ns=1, cores=(0, 63)),
        Stop(is_whole=False),
    ],
)
def test_messages_arrive(ends: tuple[Channel, Channel], message: Message) -> None:
    """Each kind, also where it is long."""
    ends[0].send(message)
    assert ends[1].has_words()
    assert message == ends[1].receive(1.0)
    assert not ends[1].has_words()


@pytest.mark.parametrize(
    "message",
    [
        msgspec.structs.replace(JOB, own=UNDECODABLE, arguments={UNDECODABLE: [UNDECODABLE, 1, None, {"a": 1.5}]}),
        Ready(test=UNDECODABLE, name=UNDECODABLE, index=1),
    ],
)
def test_names_stay_what_they_are(ends: tuple[Channel, Channel], message: Message) -> None:
    """Folders, arguments and tests may have names that are no valid Unicode."""
    ends[0].send(message)
    assert message == ends[1].receive(1.0)


def test_words_are_spelled_out(ends: tuple[Channel, Channel]) -> None:
    """Nothing that shows them or writes them into a file could encode them."""
    ends[0].send(Reported(test="t", outcome="failed", text=f"no {UNDECODABLE}"))
    assert Reported(test="t", outcome="failed", text="no caf\\udce9") == ends[1].receive(1.0)


def test_silence_and_the_end(ends: tuple[Channel, Channel]) -> None:
    """None after a time; an error once the other end is gone, also for who speaks."""
    assert ends[1].receive(0.0) is None
    ends[0].close()
    with pytest.raises(EOFError):
        ends[1].receive(1.0)
    with pytest.raises(OSError):
        ends[1].send(Stop())


@pytest.mark.parametrize("text", [b"", b"\xc1", b"{", b'{"type": "Nothing"}', msgspec.msgpack.encode({"type": "Go"})])
def test_what_is_not_understood(text: bytes) -> None:
    """Another version of this program, or something that writes over the channel: the other end counts as gone."""
    pair = socket.socketpair()
    channel = Channel(pair[1].detach())
    pair[0].sendall(len(text).to_bytes(4, "big") + text)
    with pytest.raises(ConnectionError, match="does not understand"):
        channel.receive(1.0)
    channel.close()
    pair[0].close()
