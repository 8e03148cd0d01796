"""The system calls that a submission may not make: new namespaces, mounts, tracing, kernel interfaces."""

import errno
import functools
import tempfile
from typing import IO

FLAGS = {  # of clone(2): new namespaces, and a child of the process that waits outside, which nobody counts
    "CLONE_NEWTIME": 0x80,
    "CLONE_PARENT": 0x8000,
    "CLONE_NEWNS": 0x20000,
    "CLONE_NEWCGROUP": 0x2000000,
    "CLONE_NEWUTS": 0x4000000,
    "CLONE_NEWIPC": 0x8000000,
    "CLONE_NEWUSER": 0x10000000,
    "CLONE_NEWPID": 0x20000000,
    "CLONE_NEWNET": 0x40000000,
}
DENIED = """
    unshare setns mount umount2 pivot_root chroot move_mount open_tree
    fsopen fsconfig fsmount fspick mount_setattr name_to_handle_at open_by_handle_at
    ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp perf_event_open
    bpf io_uring_setup io_uring_enter io_uring_register userfaultfd modify_ldt fanotify_init
    keyctl add_key request_key kexec_load kexec_file_load init_module finit_module
    delete_module swapon swapoff reboot acct quotactl syslog settimeofday
""".split()
# Memory that belongs to no process: nobody counts it.
DENIED += "memfd_create memfd_secret shmget msgget semget mq_open".split()
# It takes what all processes of the machine share.
DENIED += ["io_setup"]


def open_filter() -> IO[bytes]:
    """The filter as BPF in an open file, for bwrap's --seccomp. Raises ImportError or RuntimeError."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(_program())
    file.seek(0)
    return file


@functools.cache
def _program() -> bytes:
    import pyseccomp  # not at the top: it fails to load where libseccomp is missing

    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    refuse = pyseccomp.ERRNO(errno.EPERM)
    for name in DENIED:
        rules.add_rule(refuse, name)
    for flag in FLAGS.values():
        rules.add_rule(refuse, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag))
    # clone3 passes its flags by a pointer, which a filter cannot follow; without it threads use clone
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
