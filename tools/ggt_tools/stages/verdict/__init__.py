"""Judge each candidate by the gate: keep, reject or unsure. Verdicts are policy: no score is computed here.

for verdict in verdict(candidates, scores, degradation_of, gate): ...
"""

from __future__ import annotations

from ggt_tools.policy.verdicts import verdict as verdict
