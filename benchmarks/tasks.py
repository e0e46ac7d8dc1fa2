"""The tasks of the speed benchmark: who trains or evaluates what, on a CPU and on a GPU."""

OFFICIAL = {"layers": [100], "loss": "cross-entropy", "batch_size": 32, "dropout_p_hidden": 0.4, "learning_rate": 0.2}
OFFICIAL |= {"momentum": 0.2, "sample_alpha": 0.5, "n_sample": 2048, "logq": 1.0, "constrained_embedding": True}
BEAUTY = {"dataset": "beauty-bert4rec", "length": 50, "row": 50}
RECSYS23, RECTOOLS = ("recsys23", "sasrec-bert4rec-recsys23"), ("rectools_fit", None)
GRU4REC = ("gru4rec_official", "GRU4Rec_PyTorch_Official")
#: a sample has one target and one negative; a step has about as many samples as ours has slots
CASER = {"embedding_size": 50, "nh": 16, "nv": 4, "dropout_prob": 0.5, "reg_weight": 0.0, "train_batch_size": 1600}
CASER |= {"loss_type": "BPR", "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}}
SASREC, GSASREC = ("sasrec_pytorch", "SASRec.pytorch"), ("gsasrec", "gSASRec-pytorch")
OF_BCE = {
    "SASRec.pytorch as shipped": (*SASREC, {"mode": "shipped"}),
    "SASRec.pytorch paired": (*SASREC, {"mode": "paired"}),
}
OF_SOFTMAX = {
    "recsys23 paired": (*RECSYS23, {"mode": "paired", "model": "sasrec"}),
    "RecTools as shipped": (*RECTOOLS, {"mode": "shipped", "model": "sasrec"}),
}

#: {name: (our configuration, {label of ours: its changes}, {peer: (file, checkout, its options)})}
TASKS = {
    "bce-ml1m": ("sasrec_ml1m", {"jaxrec": {}}, OF_BCE),
    "bce-beauty": (
        "sasrec_ml1m",
        {"jaxrec": BEAUTY, "jaxrec, row-sparse": BEAUTY | {"optim.sparse": True}},
        OF_BCE,
    ),
    "softmax-ml1m": ("sasrec_softmax_ml1m", {"jaxrec": {}}, OF_SOFTMAX),
    "softmax-beauty": ("sasrec_softmax_beauty_bert4rec", {"jaxrec": {}}, OF_SOFTMAX),
    "bert4rec-ml1m": (
        "bert4rec_ml1m",
        {"jaxrec": {}},
        {
            "recsys23 paired": (*RECSYS23, {"mode": "paired", "model": "bert4rec"}),
            "RecTools as shipped": (*RECTOOLS, {"mode": "shipped", "model": "bert4rec"}),
        },
    ),
    "gbce-ml1m": (
        "gsasrec_ml1m",
        {"jaxrec": {}},
        {"gSASRec-pytorch as shipped": (*GSASREC, {"mode": "shipped", "negatives": 256, "t": 0.75})},
    ),
    "gru4rec-rsc15": (
        "gru4rec_rsc15",
        {"jaxrec": {}},
        {
            "GRU4Rec_PyTorch_Official as shipped": (*GRU4REC, {"mode": "shipped", "settings": OFFICIAL}),
            "GRU4Rec_PyTorch_Official paired": (*GRU4REC, {"mode": "paired", "settings": OFFICIAL}),
        },
    ),
    "caser-ml1m": (
        "caser_ml1m",
        {"jaxrec": {}},
        {
            "RecBole as shipped": ("recbole_fit", None, {"model": "Caser", "length": 50}),
            "RecBole with our sizes": ("recbole_fit", None, {"model": "Caser", "length": 5, "settings": CASER}),
        },
    ),
    "evaluation-ml1m": (
        "sasrec_softmax_ml1m",
        {"jaxrec": {"mode": "evaluation"}},
        {
            "recsys23 as shipped": (*RECSYS23, {"mode": "evaluation", "model": "sasrec"}),
            "RecTools as shipped": (*RECTOOLS, {"mode": "evaluation", "model": "sasrec"}),
        },
    ),
}

#: {task: the peers that only a GPU has}
ON_GPU = {
    task: {
        f"tuned torch {precision}": ("tuned_torch", None, {"precision": precision}) for precision in ("tf32", "bf16")
    }
    for task in ("softmax-ml1m", "softmax-beauty")
}


def of(task, device="cpu"):
    """Returns a task as in `TASKS`. On a GPU each of ours also has its form in bfloat16."""
    name, ours, theirs = TASKS[task]
    if device == "cpu":
        return name, ours, theirs
    half = {f"{label}, bfloat16": changes | {"precision": "bfloat16"} for label, changes in ours.items()}
    return name, ours | half, theirs | ON_GPU.get(task, {})
