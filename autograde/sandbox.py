"""How the kernel of a submission is started: the one seam where isolation is decided."""

import importlib.util
import os
import sys

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

from autograde.errors import CourseError

PROVISIONER = "local-provisioner"  # jupyter_client's own: an ordinary process with the grader's rights


class GradingKernels(KernelSpecManager):
    """Knows one kernel, this Python's own, whatever is installed on the machine."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The grading kernel under the provisioner of this module. Raises CourseError without ipykernel."""
        if importlib.util.find_spec("ipykernel") is None:
            raise CourseError("There is no Python kernel here: run `make setup` (it installs ipykernel).")
        return KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            display_name="grading",
            language="python",
            metadata={"kernel_provisioner": {"provisioner_name": PROVISIONER}},
        )


def kernel_environment() -> dict[str, str]:
    """The environment variables of a grading kernel: the smoke setting, one thread, no colours."""
    wanted = {"GENMAP_SETTING": "smoke", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**os.environ, **wanted, "NO_COLOR": "1"}
