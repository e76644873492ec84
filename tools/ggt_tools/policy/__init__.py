"""The gate, the verdicts, the votes of people and the calibration: whatever decides on measured facts."""
