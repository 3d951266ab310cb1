"""Runs a command in which one system call fails: NUMBER FIRST_ARGUMENT ERRNO COMMAND...

FIRST_ARGUMENT is "any", or the number that the call's first argument must have to fail. The
filter is what container runtimes use (seccomp(2)): the command cannot tell the difference.
"""

import ctypes
import os
import struct
import sys

LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
NUMBER_AT, FIRST_ARGUMENT_AT = 0, 16
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, MODE_FILTER = 22, 38, 2

number, first, errno = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
checks = [(NUMBER_AT, number)]
if first != "any":
    checks.append((FIRST_ARGUMENT_AT, int(first)))

code = []
for left, (offset, value) in zip(range(len(checks) - 1, -1, -1), checks):
    code.append((LOAD, 0, 0, offset))
    # What differs goes past the checks that are left and past the refusal.
    code.append((EQUAL, 0, 2 * left + 1, value))
code.append((RETURN, 0, 0, ERRNO | errno))
code.append((RETURN, 0, 0, ALLOW))
instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in code))


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


program = Program(len(code), ctypes.addressof(instructions))
libc = ctypes.CDLL(None, use_errno=True)
for arguments in [
    (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
    (PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(program), 0, 0),
]:
    if libc.prctl(*arguments) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[4], sys.argv[4:])
