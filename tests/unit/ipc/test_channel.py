"""Messages between a worker and its processes: complete, in order, and with a detected end."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.ipc.channel import CHUNK_BYTES, LONGEST_LINE_BYTES, Channel, ChannelClosedError, GarbledError, Message

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
messages = st.dictionaries(st.text(), values, max_size=4)


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = Channel.pair()
    other = Channel(theirs)
    yield ours, other
    ours.close()
    other.close()


@given(st.lists(messages, min_size=1, max_size=5))
def test_messages_arrive_whole_and_in_order(sent: list[Message]) -> None:
    ours, theirs = Channel.pair()
    other = Channel(theirs)

    for message in sent:
        ours.send(message)

    assert [other.receive() for _ in sent] == sent
    ours.close()
    other.close()


def test_a_message_of_any_length_arrives_whole(ends: tuple[Channel, Channel]) -> None:
    ours, other = ends
    long = {"text": "x\n" * (40 * CHUNK_BYTES)}
    sender = threading.Thread(target=lambda: ours.send(long))

    sender.start()
    received = other.receive()
    sender.join()

    assert received == long


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"no json", "a line that is not a message: b'no json'"),
        (b"[1, 2]", "a line that is not a message: b'[1, 2]'"),
        (b'{"half": ', "a line that is not a message: "),
        (b"\xff\xfe\x00", "a line that is not a message: "),
        (b"[" * 100_000, "a line that is not a message: b'[[["),
        (b"9" * 5000, "a line that is not a message: b'999"),
    ],
)
def test_an_invalid_message_ends_the_reading_and_is_reported(
    ends: tuple[Channel, Channel], line: bytes, problem: str
) -> None:
    ours, other = ends
    other.send({"before": 1})
    sender = threading.Thread(target=lambda: other._socket.sendall(line + b'\n{"after": 1}\n'))

    sender.start()
    received = ours.receive()
    with pytest.raises(GarbledError) as caught:
        ours.receive()
    sender.join()

    assert received == {"before": 1}
    assert str(caught.value).startswith(problem)
    assert len(str(caught.value)) < 500
    assert ours.receive_ready() == ([], False)
    assert ours.garbled == str(caught.value)


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(ends: tuple[Channel, Channel]) -> None:
    ours, other = ends
    sender = threading.Thread(target=lambda: other._socket.sendall(b"x" * (LONGEST_LINE_BYTES + 1)))

    sender.start()
    with pytest.raises(GarbledError, match="a line of more than 64 MiB: b'xxx"):
        ours.receive()
    sender.join()


def test_reading_ready_messages_does_not_block(ends: tuple[Channel, Channel]) -> None:
    ours, other = ends

    assert other.receive_ready() == ([], True)
    ours.send({"a": 1})
    ours.send({"b": 2})
    assert other.receive_ready() == ([{"a": 1}, {"b": 2}], True)
    assert other.receive_ready() == ([], True)


def test_a_sender_that_stops_in_the_middle_of_a_line_blocks_no_other() -> None:
    ours, theirs = Channel.pair()
    with theirs:
        theirs.sendall(b'{"whole":1}\n{"half":')

        assert ours.receive_ready() == ([{"whole": 1}], True)

        theirs.sendall(b"2}\n")
        assert ours.receive_ready() == ([{"half": 2}], True)
    ours.close()


def test_messages_sent_before_the_end_are_still_received() -> None:
    ours, theirs = Channel.pair()
    with theirs:
        theirs.sendall(b'{"last":1}\n')

    assert ours.receive_ready() == ([{"last": 1}], False)
    assert ours.receive_ready() == ([], False)
    ours.close()


def test_the_end_of_the_other_side_is_an_exception_when_receiving_or_sending() -> None:
    ours, theirs = Channel.pair()
    theirs.sendall(b'{"last":1}\n')
    theirs.close()

    assert ours.receive() == {"last": 1}
    with pytest.raises(ChannelClosedError):
        ours.receive()
    with pytest.raises(ChannelClosedError):
        ours.send({"anybody": "there"})
    ours.close()


def test_descriptors_travel_with_their_messages_in_order(ends: tuple[Channel, Channel]) -> None:
    ours, other = ends
    pairs = [socket.socketpair() for _ in range(3)]

    for number, (_, far) in enumerate(pairs):
        with far:
            ours.send({"number": number}, descriptor=far.fileno())
    received, _ = other.receive_ready()

    assert [message["number"] for message in received] == [0, 1, 2]
    for number, (near, _) in enumerate(pairs):
        with socket.socket(fileno=other.take_descriptor()) as arrived, near:
            arrived.sendall(b"%d" % number)
            assert near.recv(10) == b"%d" % number


def test_closing_closes_descriptors_that_were_not_taken(ends: tuple[Channel, Channel]) -> None:
    ours, other = ends
    read_end, write_end = os.pipe()
    ours.send({}, descriptor=write_end)
    os.close(write_end)
    other.receive()

    other.close()

    assert os.read(read_end, 1) == b""  # the last writer is gone
    os.close(read_end)
