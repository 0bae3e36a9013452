#!/usr/bin/env bash
# Training that outlives the loss of a process: torchrun's agents start all trainers again, which go on from the newest
# checkpoint, MAX_RESTARTS times at most. Arguments: the trainer's. From the repository root.
#
#   NPROC=8 launch/torchrun_elastic.sh run.name=shapes                       # one machine
#   NNODES=2 HEAD=NAME NPROC=8 launch/torchrun_elastic.sh run.name=shapes     # the same on each of two machines
#
# HEAD: the first machine, by a name that it knows as its own (its hostname): that is how torchrun finds out who serves
# the rendezvous. NNODES=1:2 trains on with the machines that are left (the batch must fit every count).
set -euo pipefail

# With the store that torch shares by default between rendezvous and training, 2 of 5 restarts never came together.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

python distgan/train.py --print-config "$@" >/dev/null # a mistake ends here, not after MAX_RESTARTS tries

endpoint=${HEAD:+$HEAD:${PORT:-29400}} # one machine: any free port
exec torchrun --nnodes "${NNODES:-1}" --nproc_per_node "${NPROC:-gpu}" --max_restarts "${MAX_RESTARTS:-3}" \
  --rdzv_backend c10d --rdzv_endpoint "${endpoint:-localhost:0}" --rdzv_id "${RDZV_ID:-distgan}" \
  distgan/train.py "$@"
