"""Fit the gate to decisions of people, at a stated rate of false accepts.

calibration = calibrate(LabelledCandidates(gate, degradations, scores, is_kept, keys), target=0.02)
"""

from __future__ import annotations

from ggt_tools.policy.calibration import LabelledCandidates as LabelledCandidates
from ggt_tools.policy.calibration import calibrate as calibrate
