"""Landlock: after this, the process can open nothing but what is named (landlock(7)).

Used so that a child that was taken over by a hostile payload reads no key and writes no file. Works
without privileges; where the kernel lacks it, the caller is told and reports so.
"""

from __future__ import annotations

import ctypes
import os
import stat
from contextlib import suppress
from dataclasses import dataclass

# The same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH = 1
_VERSION_FLAG = 1
_PR_SET_NO_NEW_PRIVS = 38

# include/uapi/linux/landlock.h: ABI 1 knows 13 file rights, 2 and 3 add one each. Device ioctls (ABI 5)
# are left alone on purpose: an accelerator needs them.
_FILE_RIGHTS_ABI_1, _FILE_RIGHTS_LAST_ABI = 13, 3
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_NET_ABI, _NET_ALL = 4, 1 << 0 | 1 << 1  # TCP bind and connect
_SCOPE_ABI, _SCOPE_ALL = 6, 1 << 0 | 1 << 1  # abstract unix sockets, signals


class _RulesetAttr(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


@dataclass(frozen=True, slots=True)
class Paths:
    """What stays open: `readable` trees, `writable` trees (files that exist), `listable` names.

    A path that is missing is left out.
    """

    readable: tuple[str, ...]
    writable: tuple[str, ...] = ()
    listable: tuple[str, ...] = ()


def restrict_files(paths: Paths) -> str:
    """Allow this process, and all that it starts, nothing but `paths`; this cannot be undone.

    Returns a word for the report: `landlock ABI <n>`, or why there is none. Also keeps it from TCP and from sending signals outside, where the kernel can.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    abi = libc.syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    if abi < 1:
        return f"none ({os.strerror(ctypes.get_errno())})"
    ruleset = _new_ruleset(libc, abi)
    if ruleset < 0:
        return f"none ({os.strerror(ctypes.get_errno())})"
    try:
        for path in paths.readable:
            _allow(libc, ruleset, path, _READ_FILE | _READ_DIR)
        for path in paths.writable:
            _allow(libc, ruleset, path, _READ_FILE | _READ_DIR | _WRITE_FILE)
        for path in paths.listable:
            _allow(libc, ruleset, path, _READ_DIR)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if libc.syscall(_RESTRICT_SELF, ruleset, 0) != 0:
            return f"none ({os.strerror(ctypes.get_errno())})"
    finally:
        os.close(ruleset)
    return f"landlock ABI {abi}"


def _new_ruleset(libc: ctypes.CDLL, abi: int) -> int:
    rights = _FILE_RIGHTS_ABI_1 + min(abi, _FILE_RIGHTS_LAST_ABI) - 1
    attributes = _RulesetAttr(
        (1 << rights) - 1,
        _NET_ALL if abi >= _NET_ABI else 0,
        _SCOPE_ALL if abi >= _SCOPE_ABI else 0,
    )
    # An older kernel accepts a longer structure as long as what it does not know is zero.
    result: int = libc.syscall(
        _CREATE_RULESET, ctypes.byref(attributes), ctypes.sizeof(attributes), 0
    )
    return result


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, access: int) -> None:
    with suppress(OSError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                access &= ~_READ_DIR  # the kernel refuses rights of folders for a file
            rule = _PathBeneathAttr(access, descriptor)
            libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
        finally:
            os.close(descriptor)
