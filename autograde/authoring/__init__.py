"""From a percent script to a released lesson, and the checks of its tests: what an author calls."""
