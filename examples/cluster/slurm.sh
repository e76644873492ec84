#!/usr/bin/env bash
# Scores a workspace on a Slurm cluster. Run it on a login node, in a shell that may be left open (tmux): it submits one
# job array, takes in what the jobs find, and ends. Where it is cut off, run it again: it waits for the jobs that are
# still there and plans only the rest.
set -euo pipefail

workspace=${1:?name a workspace} # the ledger: on a disk of this node
partition=${2:?name a partition: sinfo lists them}

# Images that every node sees, chosen once: ggt100k ingest PHOTOS "$workspace" --images /shared/ggt
ggt100k score "$workspace" --metrics core,default --device cuda \
    --engine slurm --workers 32 \
    --cluster "partition=$partition" --cluster time=04:00:00 \
    --cluster gpus_per_task=1 --cluster cpus_per_task=8 --cluster mem_per_cpu_gb=4
ggt100k verdict "$workspace"
