#!/bin/bash
# Workers as an array of LSF jobs: bsub -env "HPO_STORE,HPO_ARTIFACTS,HPO_PROJECT" < deploy/lsf.sh
#BSUB -J hpo-worker[1-8]
#BSUB -n 4
#BSUB -R "span[hosts=1] rusage[mem=16GB]"
#BSUB -W 4:00
# 75 puts a job back into the queue: it was asked to end, and trials are left.
#BSUB -Q "75"
# Before it ends a job that runs over its time, LSF sends SIGUSR2.
export HPO_CORES=${LSB_DJOB_NUMPROC:-4}
exec hpo worker --until-idle --max-seconds $((4 * 3600 - 120))
