"""The keys of a configuration, as frozen dataclasses: their types, choices and defaults."""

import dataclasses
from dataclasses import dataclass, field

IN_BATCH = ("in-batch", "mixed")  # ways of sampling that take the batch's targets


def among(*choices):
    """A field whose value is one of these; the first is the default."""
    return field(default=choices[0], metadata={"choices": choices})


@dataclass(frozen=True)
class ModelConfig:
    name: str = field(metadata={"choices": ("sasrec", "gru4rec", "bert4rec", "caser", "two-tower")})
    dim: int  #: width of the embeddings and of every layer
    layers: int  #: blocks
    dropout: float
    heads: int = 1
    norm: str = among("query", "post", "pre")  #: of bert4rec post or pre
    init: str = among("xavier", "normal", "uniform")  #: Glorot normal, N(0, 0.02) (bert4rec: cut at ±.04), or uniform
    expand: int = 4  #: width of bert4rec's feed-forward, in dims
    window: int = 5  #: caser: the newest items that it sees
    vertical: int = 4  #: caser: filters over all of them
    horizontal: int = 16  #: caser: filters of each height
    users: bool = False  #: caser: whether users have vectors; a new user's is zero
    transform: bool = True  #: whether bert4rec's output has a dense layer, GELU and LayerNorm before the table
    embedding: str = among("shared", "separate")  #: of gru4rec: whether its input's table is also the output's
    input_dropout: float = 0.0  #: of gru4rec, on the embeddings; `dropout` is on the output of every layer


@dataclass(frozen=True)
class LossConfig:
    name: str = field(metadata={"choices": ("bce", "gbce", "softmax", "sampled-softmax", "bpr", "bpr-max", "top1-max")})
    negatives: int  #: drawn for a slot, or for those that share them; 0 for the full softmax and in-batch
    sampling: str = among("uniform-unseen", "uniform", "popularity", "in-batch", "mixed")
    share: str = among("slot", "sequence", "batch")  #: who has a set of negatives: a slot, a row's sequences, a batch
    collisions: str = among("mask", "keep")  #: whether a negative that is the slot's target counts
    alpha: float = 0.75  #: of popularity and mixed: items are drawn in proportion to (training count)^alpha
    logq: float = 0.0  #: of sampled-softmax: share of the log of its expected count that a score is corrected by
    logq_counts: str = among("targets", "events")  #: what a batch's targets are expected by: trained targets, or events
    t: float = 0.75  #: of gbce: calibration, from 0 to 1
    bpreg: float = 1.0  #: of bpr-max: weight of the squared scores of the negatives
    elu: float = 0.0  #: of bpr-max: scores below 0 become elu (exp s - 1); 0 leaves them


@dataclass(frozen=True)
class OptimConfig:
    name: str = field(metadata={"choices": ("adam", "adamw", "adagrad")})
    rate: float
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0  #: of adamw
    momentum: float = 0.0  #: of adagrad
    sparse: bool = False  #: update only the rows of tables whose items are in the batch
    schedule: str = among("constant", "linear", "cosine")
    warmup: int = 0  #: steps
    clip: float = 0.0  #: global norm; 0 is none


@dataclass(frozen=True)
class Config:
    dataset: str  #: a path, a folder under $JAXREC_DATA, or the name of a public data set
    seed: int
    epochs: int
    batch: int  #: sequences a step, on average
    length: int  #: the longest history that the model sees
    eval_every: float  #: epochs
    patience: int  #: evaluations without a better validation by `select_by` before stopping; 0 is never
    model: ModelConfig
    loss: LossConfig
    optim: OptimConfig
    split: str = among("last-item", "sessions", "by-time")
    split_q: float = 0.9  #: the quantile of the times at which the test begins, where they decide
    valid: float = 0.1  #: under sessions, the share of the training sessions that validates; 0 is none: all train
    select_by: str = ""  #: the validation's metric that chooses the checkpoint; "": ndcg@10, of sessions mrr@20
    seen: str = among("exclude", "keep")  #: whether items of the history may be the answer, in choosing and in serving
    stream: str = among("packed", "lanes")  #: sequences packed into rows, or one step of each lane at a time
    objective: str = among("next-item", "cloze")
    ahead: int = 1  #: next-item: how many of the items to come are asked for at a slot
    mask: float = 0.2  #: share of a sequence's slots that the cloze asks for; at least one
    mask_last: float = 0.1  #: share of the sequences whose newest item is always among them
    positions: str = among("from_start", "from_end", "relative")
    history: str = among("newest", "oldest", "windows")  #: which `length` + 1 items train; or windows over all of them
    row: int = 0  #: slots a row; 0 is `length`
    save_every: float = 1.0  #: epochs
    steps_per_call: int = 64
    rows_at_once: int = 0  #: of a device's rows of a step, at most so many at a time; 0: what its kind does fastest
    precision: str = among("float32", "bfloat16")  #: of the compute; parameters, softmax and sums are float32
    launcher: str = among("pmap", "shard_map")
    feed: str = among("device", "host")  #: data on the device; or on the host, sent a call ahead


def default(kind, key):
    """The default of a key of one of the dataclasses."""
    return next(f.default for f in dataclasses.fields(kind) if f.name == key)
