"""Tries ptrace, mount, chroot, user namespaces by unshare, clone and setns, and set-uid programs."""

EXTRA = [
    """
import ctypes
import socket
import subprocess

libc = ctypes.CDLL(None, use_errno=True)

tries = {
    "ptrace": lambda: libc.ptrace(0, 0, 0, 0),
    "mount": lambda: libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None),
    "umount": lambda: libc.umount2(b"/tmp", 2),
    "chroot": lambda: libc.chroot(b"/tmp"),
    "unshare": lambda: libc.unshare(0x10000000),
    "setns": lambda: libc.setns(0, 0),
    "setuid": lambda: libc.setresuid(0, 0, 0),
    "bpf": lambda: libc.syscall(321, 0, None, 0),
    "io_uring": lambda: libc.syscall(425, 1, None),
    "keyctl": lambda: libc.syscall(250, 0, -3, 0),
}
for name, call in tries.items():
    if call() != -1:
        print("GOT" + "-IN", name)
for line in ("unshare -Ur true", "su -c true", "mount --bind / /tmp", "setpriv --reuid 0 true"):
    if subprocess.run(line, shell=True, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0:
        print("GOT" + "-IN", line)
""",
]
