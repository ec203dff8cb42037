"""Which system calls a confined program is refused: what the namespaces do not cover.

Above all new namespaces, in which it would be privileged again and could mount memory without
limit; memory that counts nowhere; sockets of the machine that a path or a number leads to; and the
priority of who watches.
"""

import ctypes
import errno
import struct

from sutazai.adapters.confinement import kernel

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""The architectures that are known here, and what the kernel calls them."""

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _SET, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x54, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
_X32 = 0x40000000
_NAMESPACES = 0x7E020080  # every CLONE_NEW… that clone takes
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_SOCK_DGRAM, _SOCK_TYPE = 2, 0xF
_SOL_SOCKET, _SO_SNDBUF, _SO_RCVBUF = 1, 7, 8
_MAP_TYPE, _MAP_PRIVATE, _MAP_ANONYMOUS = 0xF, 0x2, 0x20
_MADV_PAGEOUT = 21

# By name: the numbers on x86_64 and on aarch64.
_REFUSED = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioprio_set": (251, 30),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "semget": (64, 190),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "shmget": (29, 194),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
    # Of a huge page it holds the whole, though one byte of it was given.
    "vmsplice": (278, 75),
}
# Their first argument is whose property is to change; 0 is who asks.
_OWN_ONLY = {
    "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
}
_CLONE, _CLONE3, _SET_PRIORITY = (56, 220), (435, 435), (141, 140)
_SOCKET, _SOCKETPAIR, _SET_SOCKET_OPTION = (41, 198), (53, 199), (54, 208)
_MMAP, _MADVISE = (9, 222), (28, 233)


def refuse(machine: str) -> None:
    """Put the filter on this process and all it starts; needs no_new_privs before."""
    code = program(machine)
    instructions = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    wanted = Program(len(code) // 8, ctypes.addressof(instructions))
    filter_mode = 2
    kernel.prctl(kernel.PR_SET_SECCOMP, filter_mode, ctypes.byref(wanted))


def program(machine: str) -> bytes:
    """The filter as the kernel takes it."""
    which = list(MACHINES).index(machine)
    code = [
        _step(_LOAD, _ARCH),
        _step(_EQUAL, MACHINES[machine], 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        code += [_step(_AT_LEAST, _X32, 0, 1), _step(_RETURN, _ERRNO | errno.ENOSYS)]
    for numbers in _REFUSED.values():
        code += _when(numbers[which], [_step(_RETURN, _ERRNO | errno.EPERM)])
    # The library then falls back to clone, whose flags can be seen here.
    code += _when(_CLONE3[which], [_step(_RETURN, _ERRNO | errno.ENOSYS)])
    code += _when(
        _CLONE[which],
        [_argument(0), _step(_SET, _NAMESPACES, 0, 1), _step(_RETURN, _ERRNO | errno.EPERM)],
    )
    # One's own limits and priority only, not those of who watches and has the same user.
    for numbers in _OWN_ONLY.values():
        code += _when(
            numbers[which],
            [_argument(0), _step(_EQUAL, 0, 1, 0), _step(_RETURN, _ERRNO | errno.EPERM)],
        )
    code += _when(
        _SET_PRIORITY[which],
        [
            _argument(0),  # of a process, and not of a user's all
            _step(_EQUAL, 0, 0, 2),
            _argument(1),
            _step(_EQUAL, 0, 1, 0),
            _step(_RETURN, _ERRNO | errno.EPERM),
        ],
    )
    code += _memory(which)
    # A path leads to sockets of the machine, and other families to the hypervisor or the kernel.
    code += _when(
        _SOCKET[which],
        [
            _argument(0),
            _step(_EQUAL, _AF_INET, 2, 0),
            _step(_EQUAL, _AF_INET6, 1, 0),
            _step(_RETURN, _ERRNO | errno.EAFNOSUPPORT),
        ],
    )
    # A pair of streams stays a pair; a datagram socket could be connected anew.
    code += _when(
        _SOCKETPAIR[which],
        [
            _argument(0),
            _step(_EQUAL, _AF_UNIX, 0, 3),
            _argument(1),
            _step(_AND, _SOCK_TYPE),
            _step(_EQUAL, _SOCK_DGRAM, 0, 1),
            _step(_RETURN, _ERRNO | errno.EAFNOSUPPORT),
        ],
    )
    return b"".join([*code, _step(_RETURN, _ALLOW)])


def _memory(which: int) -> list[bytes]:
    """What would be held and be nobody's: shared without a file, swapped out, waiting in sockets.

    What sockets hold at most is counted by the watch, so nobody may have it be more; the kernel
    too takes such a wish as one, and says nothing where it is not granted.
    """
    return [
        *_when(
            _MMAP[which],
            [
                _argument(3),
                _step(_SET, _MAP_ANONYMOUS, 0, 3),
                _step(_AND, _MAP_TYPE),
                _step(_EQUAL, _MAP_PRIVATE, 1, 0),
                _step(_RETURN, _ERRNO | errno.EPERM),
            ],
        ),
        *_when(
            _MADVISE[which],
            [
                _argument(2),
                _step(_EQUAL, _MADV_PAGEOUT, 0, 1),
                _step(_RETURN, _ERRNO | errno.EINVAL),
            ],
        ),
        *_when(
            _SET_SOCKET_OPTION[which],
            [
                _argument(1),
                _step(_EQUAL, _SOL_SOCKET, 0, 4),
                _argument(2),
                _step(_EQUAL, _SO_SNDBUF, 1, 0),
                _step(_EQUAL, _SO_RCVBUF, 0, 1),
                _step(_RETURN, _ERRNO),
            ],
        ),
    ]


def _step(operation: int, value: int, when_true: int = 0, when_false: int = 0) -> bytes:
    return struct.pack("=HBBI", operation, when_true, when_false, value)


def _argument(index: int) -> bytes:
    return _step(_LOAD, _ARGUMENTS + 8 * index)


def _when(number: int, steps: list[bytes]) -> list[bytes]:
    """The steps for one system call, after which it is allowed; others pass by."""
    return [_step(_EQUAL, number, 0, len(steps) + 1), *steps, _step(_RETURN, _ALLOW)]
