"""What a lesson imports: device and settings here; data, figures, progress, self-check in modules.

There is no model code in this package: models are built in the lessons.
"""

from genmap.device import device, setting, settings

__all__ = ["device", "setting", "settings"]
