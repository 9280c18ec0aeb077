"""One JSON object a line over a Unix socket, between a worker and the processes that it starts.

A message may carry an open file descriptor (the socket for a process to be forked). The worker's end never blocks
in a read, so a process that stopped in the middle of a line cannot delay the others.
"""

from __future__ import annotations

import array
import json
import os
import socket
from collections import deque
from typing import Any

Message = dict[str, Any]

# Read by one system call; a longer line takes several.
CHUNK_BYTES = 1 << 16
# A traceback may have megabytes; a longer line is not a message, and would fill the memory.
LONGEST_LINE_BYTES = 1 << 26
SHOWN_BYTES = 100
DESCRIPTOR_SPACE = socket.CMSG_SPACE(16 * array.array("i").itemsize)
# A program that a trial starts should not keep the trial's channel open.
CLOSED_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class ChannelClosedError(Exception):
    """The other end is closed."""


class GarbledError(ChannelClosedError):
    """The other end sent an invalid message, which the error quotes. Nothing more is read."""


class Channel:
    """One end of a connected pair: `send` writes a message, `receive` or `receive_ready` read them in order.

    Attributes:
        garbled: a description of the invalid message that arrived; None if all were valid.
    """

    def __init__(self, end: socket.socket) -> None:
        self.garbled: str | None = None
        self._socket = end
        self._buffer = bytearray()
        self._messages: deque[Message] = deque()
        self._descriptors: deque[int] = deque()

    @staticmethod
    def pair() -> tuple[Channel, socket.socket]:
        """Our end, and the socket to hand to the other process."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return Channel(ours), theirs

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: Message, *, descriptor: int | None = None) -> None:
        """Write one message.

        Raises:
            ChannelClosedError: the other end is closed.
        """
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        try:
            if descriptor is not None:
                sent = socket.send_fds(self._socket, [line], [descriptor])
                line = line[sent:]
            self._socket.sendall(line)
        except (BrokenPipeError, ConnectionResetError, OSError) as error:
            raise ChannelClosedError from error

    def receive(self) -> Message:
        """The next message; waits for it.

        Raises:
            ChannelClosedError: the other end is closed, and all its messages have been read.
            GarbledError: the next message is invalid.
        """
        while not self._messages:
            self._read(0)
        return self._messages.popleft()

    def receive_ready(self) -> tuple[list[Message], bool]:
        """The messages that have arrived, without waiting, and whether more can follow."""
        is_open = True
        try:
            while True:
                self._read(socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        except ChannelClosedError:
            is_open = False
        messages = list(self._messages)
        self._messages.clear()
        return messages, is_open

    def take_descriptor(self) -> int:
        """The descriptor of the earliest message that carried one."""
        return self._descriptors.popleft()

    def close(self) -> None:
        self._socket.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())

    def _read(self, flags: int) -> None:
        if self.garbled is not None:
            raise GarbledError(self.garbled)
        try:
            # socket.recv_fds ignores the flags in Python 3.11
            data, ancillary, _, _ = self._socket.recvmsg(CHUNK_BYTES, DESCRIPTOR_SPACE, flags | CLOSED_ON_EXEC)
        except (ConnectionResetError, BrokenPipeError) as error:
            raise ChannelClosedError from error
        except BlockingIOError:
            raise
        except OSError as error:
            raise ChannelClosedError from error
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._descriptors.extend(array.array("i", payload[: len(payload) // 4 * 4]))
        if not data:
            raise ChannelClosedError
        self._buffer += data
        if b"\n" in data:
            *lines, rest = self._buffer.split(b"\n")
            self._buffer = bytearray(rest)
            for line in lines:
                message = _message(line)
                if message is None:
                    self._refuse("a line that is not a message", line)
                    return
                self._messages.append(message)
        if len(self._buffer) > LONGEST_LINE_BYTES:
            self._refuse(f"a line of more than {LONGEST_LINE_BYTES >> 20} MiB", self._buffer)

    def _refuse(self, what: str, line: bytearray) -> None:
        more = "..." if len(line) > SHOWN_BYTES else ""
        self.garbled = f"{what}: {bytes(line[:SHOWN_BYTES])!r}{more}"
        self._buffer = bytearray()


def _message(line: bytearray) -> Message | None:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None
