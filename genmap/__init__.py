"""What a lesson imports: device, number format, settings here; data, figures, self-check in modules.

There is no model code in this package: models are built in the lessons.
"""

from genmap.device import autocast, device, grad_scaler, setting, settings

__all__ = ["autocast", "device", "grad_scaler", "setting", "settings"]
