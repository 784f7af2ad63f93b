"""Clients that vanish, as a phone does whose network is gone."""

from __future__ import annotations

import ctypes
import socket
import struct

# <asm-generic/socket.h>
_SO_ATTACH_FILTER = 26
# <linux/bpf_common.h>: BPF_RET | BPF_K, the number of bytes to keep of a segment.
_RETURN = 0x06


def vanish(client: socket.socket) -> None:
    """Have the kernel drop whatever arrives for ``client``, so that nothing is acknowledged.

    Its own side stays open: no FIN and no RST tell the server.
    """
    program = ctypes.create_string_buffer(struct.pack("=HBBI", _RETURN, 0, 0, 0))
    filters = struct.pack("HP", 1, ctypes.addressof(program))
    client.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filters)
