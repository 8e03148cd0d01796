"""What a class did in a lesson: numbers, tables, figures, a page."""
