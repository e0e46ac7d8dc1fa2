#!/bin/bash
# All that there is to measure on a machine with GPUs, in one call: whether its results are a CPU's, the rates, what a
# catalogue of a million items costs; and with --train the recipes for ML-1M and Beauty by three seeds each.
#
#     JAXREC_DATA=FOLDER bash benchmarks/gpu.sh [--train]
#
# FOLDER holds rsc15-100k, as docs/data.md says; the other data sets are fetched where they are not there.
#
# Results are benchmarks/results/*_KIND.json, KIND the kind of GPU. Run again, trainings go on or are taken as
# they are.
set -eu
cd "$(dirname "$0")/.."
export XLA_FLAGS="${XLA_FLAGS:-} --xla_gpu_enable_latency_hiding_scheduler=true"

python -c 'import jax, sys; sys.exit(None if jax.default_backend() == "gpu" else "JAX finds no GPU: pip install -e .[gpu]")'
python -m benchmarks.agree
for config in sasrec_ml1m sasrec_softmax_ml1m gsasrec_ml1m bert4rec_ml1m gru4rec_ml1m caser_ml1m \
    sasrec_softmax_beauty_bert4rec gru4rec_rsc15; do
    for precision in float32 bfloat16; do
        python -m benchmarks.rate --config "$config" --epochs 4 --set precision="$precision" \
            --name "${config}_$precision"
    done
done
python -m benchmarks.scaling

[ "${1:-}" = --train ] || exit 0
trained() { # NAME PROTOCOL HR NDCG: a configuration by three seeds, beside a published number
    for seed in 0 1 2; do
        python train.py --config "configs/$1.py" --workdir "runs/gpu/$1-$seed" --config.seed="$seed"
    done
    python -m benchmarks.quality --name "$1" --workdirs "runs/gpu/$1-0" "runs/gpu/$1-1" "runs/gpu/$1-2" \
        --protocol "$2" --published "$3" "$4"
}
trained sasrec_softmax_ml1m full .3152 .1821
trained sasrec_negatives_ml1m full .3159 .1857
trained gsasrec_ml1m full .3003 .1726
trained bert4rec_ml1m full .2843 .1537
trained gru4rec_ml1m full .2811 .1648
trained sasrec_softmax_beauty_bert4rec full .0533 .0327
