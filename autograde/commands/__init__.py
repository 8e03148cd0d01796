"""The commands of a term: grading a class, and what an instructor decides."""
