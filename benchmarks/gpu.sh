#!/bin/bash
# What there is to measure on a machine with a GPU, in one call of less than ten minutes: whether its results are a
# CPU's, the speed next to peers in turns, and with the time that is left the rates of all recipes.
#
#     JAXREC_DATA=FOLDER bash benchmarks/gpu.sh [--peers DIR --python PYTHON] [--scaling | --train]
#
# FOLDER holds rsc15-100k, as docs/data.md says; the other data sets are fetched where they are not there. DIR and
# PYTHON are as for `python -m benchmarks.speed`, or the variables PEERS and PYTHON; without them ours run alone.
# --scaling measures instead what the size of the catalogue, of histories and of models costs. --train trains instead
# the recipes for ML-1M and Beauty by three seeds each, in bfloat16 or the variable PRECISION; run again, trainings go
# on or are taken as they are.
#
# Results are benchmarks/results/*_DEVICE.json.
set -eu
cd "$(dirname "$0")/.."
begun=$SECONDS what=speed peers=${PEERS:-} other=${PYTHON:-} precision=${PRECISION:-bfloat16} wrong=0
while [ $# -gt 0 ]; do
    case $1 in
    --peers) peers=$2 && shift ;;
    --python) other=$2 && shift ;;
    --scaling | --train) what=${1#--} ;;
    *) echo "gpu.sh: unknown argument $1" >&2 && exit 2 ;;
    esac
    shift
done
left() { echo $((570 - (SECONDS - begun) - $1)); } # seconds of ten minutes, but for so many

python -c 'import jax, sys; sys.exit(None if jax.default_backend() == "gpu" else "no GPU: pip install -e .[gpu]")'

if [ "$what" = speed ]; then
    python -m benchmarks.agree || wrong=$?
    python -m benchmarks.speed ${peers:+--peers "$peers"} ${other:+--python "$other"} --rounds 5 --seconds 1 \
        --within "$(left 90)" --only softmax-ml1m --only softmax-beauty --only bce-ml1m --only gbce-ml1m \
        --only bert4rec-ml1m --only gru4rec-rsc15 --only evaluation-ml1m
    python -m benchmarks.rate --epochs 4 --precision float32 bfloat16 --within "$(left 60)" --config gru4rec_ml1m \
        caser_ml1m gsasrec_ml1m bert4rec_ml1m sasrec_ml1m sasrec_softmax_ml1m sasrec_softmax_beauty_bert4rec \
        gru4rec_rsc15
    exit "$wrong"
fi
[ "$what" = train ] || exec python -m benchmarks.scaling

trained() { # NAME PROTOCOL HR NDCG: a configuration by three seeds, beside a published number
    local runs=runs/gpu/$precision/$1
    for seed in 0 1 2; do
        python train.py --config "configs/$1.py" --workdir "$runs-$seed" --config.seed="$seed" \
            --config.precision="$precision"
    done
    python -m benchmarks.quality --name "$1_$precision" --workdirs "$runs-0" "$runs-1" "$runs-2" \
        --protocol "$2" --published "$3" "$4"
}
trained sasrec_softmax_ml1m full .3152 .1821
trained sasrec_negatives_ml1m full .3159 .1857
trained gsasrec_ml1m full .3003 .1726
trained bert4rec_ml1m full .2843 .1537
trained gru4rec_ml1m full .2811 .1648
trained sasrec_softmax_beauty_bert4rec full .0533 .0327
