"""Runs a command that may set up an io_uring only with CAP_SYS_ADMIN: COMMAND...

A second process answers for the kernel (seccomp_unotify(2)), which lets the call go on or fails it
with EPERM, as kernel.io_uring_disabled = 1 does.
"""

import ctypes
import fcntl
import os
import struct
import sys

LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, USER_NOTIFICATION = 0x7FFF0000, 0x7FC00000
PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG = 38, 1
SECCOMP = {"x86_64": 317}.get(os.uname().machine, 277)
SET_MODE_FILTER, NEW_LISTENER = 1, 8
IO_URING_SETUP = 425
RECEIVE, ANSWER = 0xC0502100, 0xC0182101
GO_ON, EPERM, SIGKILL = 1, 1, 9
CAP_SYS_ADMIN = 1 << 21

code = b"".join(
    struct.pack("HBBI", *one)
    for one in [
        (LOAD, 0, 0, 0),
        (EQUAL, 0, 1, IO_URING_SETUP),
        (RETURN, 0, 0, USER_NOTIFICATION),
        (RETURN, 0, 0, ALLOW),
    ]
)
instructions = ctypes.create_string_buffer(code)


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def may(task):
    with open(f"/proc/{task}/status") as status:
        effective = next(line for line in status if line.startswith("CapEff:"))
    return int(effective.split()[1], 16) & CAP_SYS_ADMIN


libc = ctypes.CDLL(None, use_errno=True)
program = Program(4, ctypes.addressof(instructions))
listener = libc.syscall(SECCOMP, SET_MODE_FILTER, NEW_LISTENER, ctypes.byref(program))
if listener < 0:
    sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
if os.fork() != 0:
    os.set_inheritable(listener, False)
    os.execvp(sys.argv[1], sys.argv[1:])

libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
os.dup2(os.open(os.devnull, os.O_RDWR), 2)
while True:
    asked = bytearray(80)
    fcntl.ioctl(listener, RECEIVE, asked)
    number, task = struct.unpack_from("QI", asked)
    error, flags = (0, GO_ON) if may(task) else (-EPERM, 0)
    try:
        fcntl.ioctl(listener, ANSWER, bytearray(struct.pack("QqiI", number, 0, error, flags)))
    except OSError:
        pass  # It is gone.
