#!/usr/bin/env bash
# Score a workspace on a Slurm cluster. Run this on a login node, in a shell that stays open (tmux). It submits one job
# array, adds the scores of the jobs to the ledger, and ends. If it is interrupted, run it again: it waits for jobs that
# are still running, and plans only the rest.
set -euo pipefail

workspace=${1:?name a workspace} # its ledger must be on a local disk of this node
partition=${2:?name a partition; sinfo lists them}

# All nodes must be able to read the images: ggt100k ingest PHOTOS "$workspace" --images /shared/ggt
ggt100k score "$workspace" --metrics core,default --device cuda \
    --engine slurm --workers 32 \
    --cluster "partition=$partition" --cluster time=04:00:00 \
    --cluster gpus_per_task=1 --cluster cpus_per_task=8 --cluster mem_per_cpu_gb=4
ggt100k verdict "$workspace"
