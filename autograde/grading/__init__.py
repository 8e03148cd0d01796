"""From a submission to a row of the gradebook: nbgrader's pipeline with our steps in it."""
