#!/bin/bash
# Workers as an array of PBS jobs: qsub -J 0-7 -v HPO_STORE,HPO_ARTIFACTS,HPO_PROJECT deploy/pbs.sh
#PBS -N hpo-worker
#PBS -l select=1:ncpus=4:mem=16gb
#PBS -l walltime=04:00:00
#PBS -r y
# The worker ends by itself, with its trials handed back, before the time is up: exit code 75.
export HPO_CORES=${NCPUS:-4}
exec hpo worker --until-idle --max-seconds $((4 * 3600 - 120))
