"""Leaves start-up files and configuration wherever Python, IPython, Jupyter and nbgrader might look."""

EVIL = "print('GOT' + '-IN')\nopen('@COURSE@/pwned', 'w').close()\nraise SystemExit\n"
NAMES = (
    *("sitecustomize.py", "usercustomize.py", "ipython_config.py", "ipython_kernel_config.py", "x.pth"),
    *("jupyter_config.py", "nbgrader_config.py", "jupyter_nbconvert_config.py", "nbclient_config.py"),
    *("profile_default/startup/00.py", "profile_default/ipython_config.py", ".ipython/profile_default/x.py"),
    *("matplotlibrc", "setup.cfg", "pyproject.toml", "conftest.py", ".pdbrc", "pyvenv.cfg"),
)
EXTRA = [
    f"""
import os
import site

homes = ["/tmp", "/tmp/.ipython/profile_default/startup", "/work", site.getusersitepackages()]
for home in homes:
    for name in {NAMES!r}:
        path = os.path.join(home, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "w").write({EVIL!r})
os._exit(0)
""",
]


def files(folder):
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(EVIL)
