"""score: measure each candidate against its photograph."""
