"""The system calls that a submission may make, the sockets and the requests to devices; all others fail.

The list was made by tracing what IPython, torch, matplotlib, multiprocessing and a shell call in three
lessons (01, 06, 19), and has the older and newer forms of those calls. What the grader reads foreign things
with may do less: compute, open files to read, and speak on the lines that it has.
"""

import errno
import functools
import tempfile
from typing import IO, Any

ALLOWED = """
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek sendfile splice tee
    copy_file_range open openat openat2 creat close close_range dup dup2 dup3 pipe pipe2 fcntl flock
    stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink readlinkat getdents
    getdents64 getcwd chdir fchdir mkdir mkdirat rmdir rename renameat renameat2 link linkat symlink symlinkat
    unlink unlinkat chmod fchmod fchmodat chown fchown lchown fchownat utime utimes utimensat futimesat umask
    truncate ftruncate fallocate fadvise64 readahead fsync fdatasync sync_file_range
    getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr

    brk munmap mremap mprotect madvise mincore msync mlock munlock membarrier
    pkey_alloc pkey_free pkey_mprotect

    fork vfork execve execveat exit exit_group wait4 waitid kill tkill tgkill pidfd_open pidfd_send_signal
    getpid getppid gettid getpgid setpgid getpgrp getsid setsid set_tid_address set_robust_list
    get_robust_list rseq arch_prctl futex futex_waitv sched_yield sched_getaffinity getcpu prctl
    sched_getparam sched_getscheduler sched_setparam sched_setscheduler sched_get_priority_max
    sched_get_priority_min getpriority setpriority
    prlimit64 getrlimit setrlimit getrusage times sysinfo uname seccomp
    getuid geteuid getgid getegid getresuid getresgid getgroups capget
    setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset

    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait rt_sigqueueinfo
    rt_tgsigqueueinfo sigaltstack pause restart_syscall signalfd signalfd4
    alarm getitimer setitimer timer_create timer_settime timer_gettime timer_getoverrun timer_delete
    timerfd_create timerfd_settime timerfd_gettime
    time gettimeofday clock_gettime clock_getres clock_nanosleep nanosleep getrandom

    poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
    eventfd eventfd2 bind connect listen accept accept4 getsockname getpeername getsockopt
    setsockopt sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg shutdown
""".split()
AF_UNIX, AF_INET = 1, 2
FAMILIES = (AF_UNIX, AF_INET)  # of sockets
MOST_FAMILIES = 64  # Linux has 46
FOR_KERNELS, FOR_READERS = "kernels", "readers"  # what a filter is for
# What a reader has no use for: programs, processes, others' processes, sockets, names and rights of files.
NO_READERS = """
    fork vfork execve execveat kill tkill tgkill pidfd_open pidfd_send_signal rt_sigqueueinfo
    rt_tgsigqueueinfo prlimit64 setpriority sched_setparam sched_setscheduler setpgid setsid seccomp
    bind connect listen accept accept4 setsockopt
    creat mkdir mkdirat rename renameat renameat2 link linkat symlink symlinkat unlink unlinkat rmdir
    chmod fchmod fchmodat chown fchown lchown fchownat utime utimes utimensat futimesat truncate ftruncate
    fallocate copy_file_range
    setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset
""".split()
THREAD = 0x10000  # of clone(2): a thread, and no process
UNKNOWN = -1  # the number of what is no system call
# Of clone(2): new namespaces, and a child of the process that waits outside, which nobody counts. In turn
# TIME, PARENT, NS, CGROUP, UTS, IPC, USER, PID, NET.
CLONE = 0x80 | 0x8000 | 0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 | 0x20000000 | 0x40000000
# Of mmap(2). Memory that is shared and in no file is charged to no process once it is let go of, and stays.
ANONYMOUS, TYPE, SHARED, PRIVATE = 0x20, 0x0F, 0x01, 0x02
# Of ioctl(2): terminals, which IPython runs programs on, and files; not TIOCSTI, which types into them.
REQUESTS = {
    "TCGETS": 0x5401,
    "TCSETS": 0x5402,
    "TCSETSW": 0x5403,
    "TCSETSF": 0x5404,
    "TIOCSCTTY": 0x540E,
    "TIOCGPGRP": 0x540F,
    "TIOCSPGRP": 0x5410,
    "TIOCGWINSZ": 0x5413,
    "TIOCSWINSZ": 0x5414,
    "FIONREAD": 0x541B,
    "FIONBIO": 0x5421,
    "TIOCNOTTY": 0x5422,
    "TIOCGPTN": 0x80045430,
    "TIOCSPTLCK": 0x40045431,
    "TIOCGPTPEER": 0x5441,
    "FIONCLEX": 0x5450,
    "FIOCLEX": 0x5451,
}
# These say that they are forbidden; all others, that there is no such call: so programs take another way.
REFUSED = """
    unshare setns mount umount2 pivot_root chroot ptrace process_vm_readv process_vm_writev bpf keyctl add_key
    request_key perf_event_open io_uring_setup userfaultfd memfd_create shmget msgget semget mq_open io_setup
    sched_setaffinity sched_setattr clock_settime settimeofday
    sethostname mknod mknodat inotify_init inotify_init1 fanotify_init setxattr fsetxattr lsetxattr
""".split()


def open_filter(whose: str) -> IO[bytes]:
    """The filter FOR_KERNELS or FOR_READERS as BPF in an open file. Raises ImportError or RuntimeError."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(program(whose))
    file.seek(0)
    return file


@functools.cache
def program(whose: str) -> bytes:
    """The filter as BPF."""
    import pyseccomp  # not at the top: it fails to load where libseccomp is missing

    rules = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.ENOSYS))
    for name in ALLOWED:
        if whose == FOR_KERNELS or name not in NO_READERS:
            _add(rules, pyseccomp.ALLOW, name)
    for name in [*REFUSED, *(NO_READERS if whose == FOR_READERS else ())]:
        if (whose, name) != (FOR_READERS, "prlimit64"):
            _add(rules, pyseccomp.ERRNO(errno.EPERM), name)
    _add_memory(rules, pyseccomp)
    (_add_for_kernels if whose == FOR_KERNELS else _add_for_readers)(rules, pyseccomp)
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def _add_memory(rules: Any, pyseccomp: Any) -> None:
    masked = pyseccomp.MASKED_EQ
    _add(rules, pyseccomp.ALLOW, "mmap", pyseccomp.Arg(3, masked, ANONYMOUS, 0))
    _add(rules, pyseccomp.ALLOW, "mmap", pyseccomp.Arg(3, masked, ANONYMOUS | TYPE, ANONYMOUS | PRIVATE))
    shared = pyseccomp.Arg(3, masked, ANONYMOUS | TYPE, ANONYMOUS | SHARED)
    _add(rules, pyseccomp.ERRNO(errno.EPERM), "mmap", shared)


def _add_for_kernels(rules: Any, pyseccomp: Any) -> None:
    """Calls of which only some forms are allowed. clone3 is none: its flags are out of a filter's reach."""
    allow, masked, equal = pyseccomp.ALLOW, pyseccomp.MASKED_EQ, pyseccomp.EQ
    _add(rules, allow, "clone", pyseccomp.Arg(0, masked, CLONE, 0))
    for family in range(MOST_FAMILIES):
        action = allow if family in FAMILIES else pyseccomp.ERRNO(errno.EAFNOSUPPORT)
        _add(rules, action, "socket", pyseccomp.Arg(0, equal, family))
    _add(rules, allow, "socketpair", pyseccomp.Arg(0, equal, AF_UNIX))
    for request in REQUESTS.values():
        _add(rules, allow, "ioctl", pyseccomp.Arg(1, masked, 0xFFFFFFFF, request))


def _add_for_readers(rules: Any, pyseccomp: Any) -> None:
    """Threads of its own, which torch makes, and its own limits; no process, no socket."""
    allow, masked = pyseccomp.ALLOW, pyseccomp.MASKED_EQ
    _add(rules, allow, "clone", pyseccomp.Arg(0, masked, CLONE | THREAD, THREAD))
    _add(rules, allow, "prlimit64", pyseccomp.Arg(0, pyseccomp.EQ, 0))
    for name in ("FIONREAD", "FIONBIO", "FIOCLEX", "FIONCLEX", "TCGETS"):  # Python asks files for the last
        _add(rules, allow, "ioctl", pyseccomp.Arg(1, masked, 0xFFFFFFFF, REQUESTS[name]))


def _add(rules: Any, action: Any, name: str, *arguments: Any) -> None:
    """A rule, unless this system has no call of that name."""
    import pyseccomp

    if pyseccomp.resolve_syscall(pyseccomp.system_arch(), name) != UNKNOWN:
        rules.add_rule(action, name, *arguments)
