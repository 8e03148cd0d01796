"""Changes the program that it is run by, through the links that processes have to theirs."""

EXTRA = [
    """
import glob
import os

for link in glob.glob("/proc/[0-9]*/exe"):
    for change in (lambda: os.chmod(link, 0o711), lambda: os.utime(link), lambda: open(link, "r+b")):
        try:
            change()
        except OSError:
            pass
program = os.readlink("/proc/self/exe")
if not program.startswith("/memfd:"):
    print("GOT" + "-IN", program)
""",
]
