"""Pages that show a submission, made so that nothing in it can run."""
