"""System calls that Python has no function for; each raises OSError."""

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REC = 0x4000
MS_PRIVATE = 0x40000

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_IDMAP = 0x00100000

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_MOVE_MOUNT_FROM_EMPTY = 0x4
_MNT_DETACH = 2
_CAPABILITY_VERSION = 0x20080522
_LAST_CAPABILITY = 63
_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x41

# These three have one number on every architecture; pivot_root is older than that agreement.
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CAPSET = {"x86_64": 126, "aarch64": 91}

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def _syscall(name: str, number: int, *arguments: object) -> int:
    return _checked(_libc.syscall(ctypes.c_long(number), *arguments), name)


def _long(value: int) -> ctypes.c_long:
    return ctypes.c_long(value)


def unshare(flags: int) -> None:
    """Leave namespaces for new ones."""
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare")


def prctl(option: int, value: int = 0, pointer: object = None) -> None:
    """Set a property of this process."""
    second = _long(0) if pointer is None else pointer
    _checked(_libc.prctl(option, _long(value), second, _long(0), _long(0)), f"prctl {option}")


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """Mount a new file system, or change how mounts propagate."""
    _checked(
        _libc.mount(
            source.encode(),
            os.fsencode(target),
            kind.encode() if kind else None,
            ctypes.c_ulong(flags),
            data.encode() or None,
        ),
        f"mount {target}",
    )


def unmount(target: str) -> None:
    """Detach a mount and what is below it."""
    _checked(_libc.umount2(os.fsencode(target), _MNT_DETACH), f"umount {target}")


def pivot_root(machine: str) -> None:
    """Make the current folder the root, and stack the old root on top of it."""
    _syscall("pivot_root", _PIVOT_ROOT[machine], b".", b".")


def clone_tree(path: str) -> int:
    """A detached copy of what is mounted at and below `path`, as a descriptor."""
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_RECURSIVE
    return _syscall(
        f"open_tree {path}", _OPEN_TREE, _long(_AT_FDCWD), os.fsencode(path), _long(flags)
    )


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def set_attributes(tree: int, attributes: int, user_namespace: int = 0) -> None:
    """Change all mounts of a detached tree."""
    wanted = _MountAttributes(attributes, 0, 0, user_namespace)
    flags = _AT_EMPTY_PATH | _AT_RECURSIVE
    size = ctypes.sizeof(wanted)
    _syscall(
        "mount_setattr", _MOUNT_SETATTR, _long(tree), b"", _long(flags), ctypes.byref(wanted), size
    )


def make_read_only(path: str) -> None:
    """Let nothing be written through this one mount any more."""
    wanted = _MountAttributes(MOUNT_ATTR_RDONLY, 0, 0, 0)
    size = ctypes.sizeof(wanted)
    _syscall(
        f"mount_setattr {path}",
        _MOUNT_SETATTR,
        _long(_AT_FDCWD),
        os.fsencode(path),
        _long(0),
        ctypes.byref(wanted),
        size,
    )


def attach(tree: int, target: str) -> None:
    """Put a detached tree in its place."""
    _syscall(
        f"move_mount {target}",
        _MOVE_MOUNT,
        _long(tree),
        b"",
        _long(_AT_FDCWD),
        os.fsencode(target),
        _long(_MOVE_MOUNT_FROM_EMPTY),
    )


def bound_capabilities() -> None:
    """Let no program that is started from here on gain a capability."""
    for capability in range(_LAST_CAPABILITY + 1):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break  # beyond the last one that this kernel knows


def drop_capabilities(machine: str) -> None:
    """Give up the capabilities that this process has."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    none = (ctypes.c_uint32 * 6)()
    _syscall("capset", _CAPSET[machine], ctypes.byref(header), ctypes.byref(none))


def bring_up_loopback() -> None:
    """Let the processes of this network namespace talk to each other, and to nobody else."""
    descriptor = _checked(_libc.socket(2, 2 | os.O_CLOEXEC, 0), "socket")
    try:
        request = ctypes.create_string_buffer(40)
        request.raw = b"lo".ljust(16, b"\0") + _IFF_UP_RUNNING.to_bytes(2, "little") + bytes(22)
        _checked(_libc.ioctl(descriptor, ctypes.c_ulong(_SIOCSIFFLAGS), request), "lo")
    finally:
        os.close(descriptor)


def set_host_name(name: str) -> None:
    """The name of the machine in this namespace."""
    _checked(_libc.sethostname(name.encode(), len(name)), "sethostname")
