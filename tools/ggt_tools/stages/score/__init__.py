"""score: measure each aligned candidate against its photograph. Scores are facts and hold no threshold.

for score in score([(candidate.id, lq, gt)], ["core"]): ...
"""

from __future__ import annotations

from ggt_tools.metrics.scorer import score as score
