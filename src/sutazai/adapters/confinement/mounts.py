"""The file system that a confined program sees: a new root, and on it only what it was given."""

import contextlib
import os
from typing import Any

from sutazai.adapters.confinement import kernel

WORK = "/sandbox"
"""The private working folder."""

_BASE = "/tmp"
_QUIET = kernel.MS_NOSUID | kernel.MS_NODEV
_READ_ONLY = kernel.MOUNT_ATTR_RDONLY | kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV
# What is read from `full` are zeros, too; but of `zero` one could map memory that counts nowhere.
_DEVICES = ("null", "zero", "full", "random", "urandom")
_INSTEAD = {"zero": "full"}
_SCRATCH = {"work": WORK, "tmp": "/tmp", "shm": "/dev/shm"}


def build(spec: dict[str, Any], *, user: int, machine: str, translate: int | None) -> None:
    """Build the new root of `spec` and go there.

    `user` is who will run in it. `translate` is a user namespace in which the files of root are
    those of `user`, for when root's files are to be read without being root.
    """
    # Taken before anything is covered by the new root.
    trees = [
        (_tree(source, translate if private else None), target)
        for source, target, private in spec["binds"]
    ]
    devices = [
        (kernel.clone_tree(f"/dev/{_INSTEAD.get(name, name)}"), f"dev/{name}") for name in _DEVICES
    ]
    size = (1 << 20) + sum(4096 + len(content) for _, content in spec["replaced"])
    kernel.mount("tmpfs", _BASE, "tmpfs", _QUIET, f"mode=0755,size={size},nr_inodes=65536")
    os.chdir(_BASE)
    _folder("proc")
    kernel.mount("proc", "proc", "proc", _QUIET | kernel.MS_NOEXEC, "subset=pid")
    for name, target in spec["links"]:
        os.symlink(target, name.lstrip("/"))
    _scratch(spec["scratch_bytes"], user)
    for tree, target in trees:
        _place(tree, target.lstrip("/"))
    for tree, target in devices:
        _place(tree, target)
    _write_etc(spec["etc"], user)
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink(f"/proc/self/fd{target}", f"dev/{name}")
    for number, (target, content) in enumerate(spec["replaced"]):
        _replace(f"etc/replaced-{number}", target.lstrip("/"), content)
    for target in spec["masks"]:
        _cover(target.lstrip("/"))
    kernel.pivot_root(machine)
    kernel.unmount(".")
    os.chdir("/")
    kernel.make_read_only("/")
    kernel.make_read_only("/proc")


def _tree(source: str, translate: int | None) -> int:
    if translate is not None:
        tree = kernel.clone_tree(source)
        try:
            kernel.set_attributes(tree, _READ_ONLY | kernel.MOUNT_ATTR_IDMAP, translate)
            return tree
        except OSError:
            os.close(tree)  # not every file system can; then what others may read is to be read
    tree = kernel.clone_tree(source)
    kernel.set_attributes(tree, _READ_ONLY)
    return tree


def _scratch(size: int, user: int) -> None:
    """One file system for all that may be written, so that one limit holds for it together."""
    _folder("scratch")
    options = f"mode=0755,size={size},nr_inodes={1024 + size // 4096}"
    kernel.mount("tmpfs", "scratch", "tmpfs", _QUIET, options)
    for name, target in _SCRATCH.items():
        inside = f"scratch/{name}"
        _folder(inside)
        os.chown(inside, user, user)
        _place(kernel.clone_tree(inside), target.lstrip("/"))
    kernel.unmount("scratch")
    os.rmdir("scratch")


def _place(tree: int, target: str) -> None:
    if _is_folder(tree):
        _folder(target)
    else:
        _folder(target.rpartition("/")[0])
        with contextlib.suppress(FileExistsError):
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o444))
    kernel.attach(tree, target)
    os.close(tree)


def _is_folder(descriptor: int) -> bool:
    return os.fstat(descriptor).st_mode & 0o170000 == 0o040000


def _folder(path: str) -> None:
    """Make a folder and those above it."""
    made = ""
    for part in filter(None, path.split("/")):
        made = f"{made}/{part}" if made else part
        with contextlib.suppress(FileExistsError):
            os.mkdir(made, 0o755)


def _write_etc(files: dict[str, str], user: int) -> None:
    _folder("etc")
    for name, text in files.items():
        _write(f"etc/{name}", text.replace("USER", str(user)).encode())


def _write(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o644)
    with open(descriptor, "wb") as file:
        file.write(content)


def _replace(copy: str, target: str, content: bytes) -> None:
    """Show a copy of our own where a file of the source is."""
    _write(copy, content)
    tree = kernel.clone_tree(copy)
    kernel.set_attributes(tree, _READ_ONLY)
    kernel.attach(tree, target)
    os.close(tree)


def _cover(target: str) -> None:
    """Put something empty where something is that must not be seen."""
    try:
        mode = os.lstat(target).st_mode & 0o170000
    except OSError:
        return  # not there, so there is nothing to be seen
    if mode == 0o040000:
        kernel.mount("tmpfs", target, "tmpfs", _QUIET | kernel.MS_RDONLY, "mode=0555,size=4k")
    elif mode != 0o120000:
        with contextlib.suppress(FileExistsError):
            os.close(os.open("etc/nothing", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o000))
        tree = kernel.clone_tree("etc/nothing")
        kernel.attach(tree, target)
        os.close(tree)
