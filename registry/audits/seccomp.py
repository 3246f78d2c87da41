"""A seccomp filter for the audit child: no new process, program, socket or peek at others.

A deny list that answers "not permitted" (errno), so that a library that merely tries goes on. Works
without privileges and stays for good. Numbers: arch/x86/entry/syscalls/syscall_64.tbl and
include/uapi/asm-generic/unistd.h; other architectures get no filter, and the report says so.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_CLONE_THREAD = 0x00010000
_X32_BIT = 0x40000000

# Offsets in struct seccomp_data: nr, arch, instruction pointer, six arguments of 64 bit.
_AT_NR, _AT_ARCH, _AT_ARGUMENT_0 = 0, 4, 16

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_JUMP_BITS = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06

# machine: (audit architecture, clone, clone3, {denied name: number})
_X86_64: dict[str, int] = {
    "socket": 41, "connect": 42, "bind": 49, "listen": 50, "socketpair": 53,
    "fork": 57, "vfork": 58, "execve": 59, "execveat": 322, "kill": 62, "tkill": 200,
    "tgkill": 234, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "pidfd_send_signal": 424,
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "pidfd_open": 434,
    "pidfd_getfd": 438, "kcmp": 312, "process_madvise": 440, "mount": 165, "umount2": 166,
    "pivot_root": 155, "chroot": 161, "unshare": 272, "setns": 308, "open_by_handle_at": 304,
    "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "add_key": 248, "request_key": 249,
    "keyctl": 250, "init_module": 175, "finit_module": 313, "delete_module": 176,
    "kexec_load": 246, "io_uring_setup": 425, "memfd_create": 319, "memfd_secret": 447,
    "shmget": 29, "mq_open": 240, "personality": 135,
    "quotactl": 179, "swapon": 167, "reboot": 169, "setpriority": 141,
}  # fmt: skip
_AARCH64: dict[str, int] = {
    "socket": 198, "connect": 203, "bind": 200, "listen": 201, "socketpair": 199,
    "execve": 221, "execveat": 281, "kill": 129, "tkill": 130, "tgkill": 131,
    "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240, "pidfd_send_signal": 424,
    "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "pidfd_open": 434,
    "pidfd_getfd": 438, "kcmp": 272, "process_madvise": 440, "mount": 40, "umount2": 39,
    "pivot_root": 41, "chroot": 51, "unshare": 97, "setns": 268, "open_by_handle_at": 265,
    "bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "add_key": 217, "request_key": 218,
    "keyctl": 219, "init_module": 105, "finit_module": 273, "delete_module": 106,
    "kexec_load": 104, "io_uring_setup": 425, "memfd_create": 279, "memfd_secret": 447,
    "shmget": 194, "mq_open": 180, "personality": 92, "quotactl": 60, "swapon": 224,
    "reboot": 142, "setpriority": 140,
}  # fmt: skip
_MACHINES = {
    "x86_64": (0xC000003E, 56, 435, _X86_64),
    "aarch64": (0xC00000B7, 220, 435, _AARCH64),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def deny_system_calls() -> str:
    """Put the filter on this process and all its threads to come; return a word for the report."""
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return f"none (no table for {platform.machine()})"
    code = _filter(*machine)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        return f"none ({os.strerror(ctypes.get_errno())})"
    return f"seccomp, {len(machine[3]) + 2} calls denied"


def _filter(architecture: int, clone: int, clone3: int, denied: dict[str, int]) -> bytes:
    """Return the BPF program: wrong architecture dies, listed calls get EPERM, the rest pass."""
    refuse = _ERRNO | errno.EPERM
    lines = [
        _op(_LOAD, _AT_ARCH),
        _op(_JUMP_EQUAL, architecture, 1, 0),
        _op(_RETURN, _KILL),
        _op(_LOAD, _AT_NR),
        # The x32 table has the same calls under other numbers.
        _op(_JUMP_AT_LEAST, _X32_BIT, 0, 1),
        _op(_RETURN, refuse),
        # clone3 hides its flags in memory; ENOSYS makes the C library use clone.
        _op(_JUMP_EQUAL, clone3, 0, 1),
        _op(_RETURN, _ERRNO | errno.ENOSYS),
    ]
    for number in sorted(denied.values()):
        lines += [_op(_JUMP_EQUAL, number, 0, 1), _op(_RETURN, refuse)]
    lines += [
        _op(_JUMP_EQUAL, clone, 0, 3),
        _op(_LOAD, _AT_ARGUMENT_0),
        _op(_JUMP_BITS, _CLONE_THREAD, 1, 0),  # threads may start, processes may not
        _op(_RETURN, refuse),
        _op(_RETURN, _ALLOW),
    ]
    return b"".join(lines)


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
