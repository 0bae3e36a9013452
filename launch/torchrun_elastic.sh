#!/usr/bin/env bash
# Training that survives the loss of a process: torchrun's agents start all trainers again, MAX_RESTARTS times at most. The
# trainers resume from the newest checkpoint. Arguments: those of the trainer. Run it from the repository root.
#
#   NPROC=8 launch/torchrun_elastic.sh run.name=shapes                       # one machine
#   NNODES=2 HEAD=NAME NPROC=8 launch/torchrun_elastic.sh run.name=shapes     # the same on each of two machines
#
# HEAD: the first machine, by a name that it knows as its own (its hostname): from it torchrun finds out which machine
# serves the rendezvous. NNODES=1:2 continues with the remaining machines (the batch must fit every number of processes).
set -euo pipefail

# By default torch shares one store between rendezvous and training; with it 2 of 5 restarts never connected.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

python distgan/train.py --print-config "$@" >/dev/null # a user error ends here, not after MAX_RESTARTS tries

endpoint=${HEAD:+$HEAD:${PORT:-29400}} # one machine: any free port
exec torchrun --nnodes "${NNODES:-1}" --nproc_per_node "${NPROC:-gpu}" --max_restarts "${MAX_RESTARTS:-3}" \
  --rdzv_backend c10d --rdzv_endpoint "${endpoint:-localhost:0}" --rdzv_id "${RDZV_ID:-distgan}" \
  distgan/train.py "$@"
