"""Grades the lessons of The Generative Model Map with hidden tests outside the learner's kernel."""
