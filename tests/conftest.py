"""Settings of all tests: hypothesis keeps no database and sets no deadline, for the machine may be busy."""

from hypothesis import settings

settings.register_profile("course", database=None, deadline=None)
settings.load_profile("course")
