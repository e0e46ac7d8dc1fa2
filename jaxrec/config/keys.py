"""The keys of a configuration, as frozen dataclasses. Those of a model or a loss are with its entry."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from jaxrec.config.fields import among, below_one, choice, key, not_negative, positive, seed, share, within

AUTO = "auto"  # a value that follows from the log
IN_BATCH = ("in-batch", "mixed")  # ways of sampling that take the batch's targets


@dataclass(frozen=True)
class ModelOptions:
    """The keys of every model; an entry's own options add to them."""

    name: str  #: of an entry, or an import path as package.module:NAME
    dim: int = key(positive)  #: width of the embeddings and of every layer
    layers: int = key(positive)  #: blocks
    dropout: float = key(below_one)


@dataclass(frozen=True)
class LossOptions:
    """The keys of every loss; an entry's own options add to them."""

    name: str  #: of an entry, or an import path as package.module:NAME
    _: KW_ONLY
    weight: str = among("none", "linear", "log")  #: by what a target counts: 1, its event's weight, or log(1 + weight)
    weight_clip: float = key(not_negative, 0.0)  #: the highest weight, before the log; 0: none is cut


@dataclass(frozen=True)
class SampledOptions(LossOptions):
    """The keys of every loss that compares the target with sampled negatives."""

    negatives: int = key(not_negative)  #: drawn for a slot, or for those that share them; 0 in-batch
    sampling: str = among("uniform-unseen", "uniform", "popularity", "in-batch", "mixed")
    share: str = among("slot", "row", "batch")  #: who has a set of negatives: a slot, a packed row, a batch
    remove_accidental_hits: bool = True  #: whether a negative that is the slot's target counts for nothing
    alpha: float = key(not_negative, 0.75)  #: popularity and mixed: items in proportion to (training count)^alpha

    logq: ClassVar[float] = 0.0  #: share of the log of its expected count that a score is corrected by: of few losses
    logq_counts: ClassVar[str] = "targets"  #: by what that count is expected


@dataclass(frozen=True)
class OptimConfig:
    name: str = choice("adam", "adamw", "adagrad")
    learning_rate: float = key(positive)
    b1: float = key(below_one, 0.9)
    b2: float = key(below_one, 0.999)
    eps: float = key(positive, 1e-8)
    weight_decay: float = key(not_negative, 0.0)  #: of adamw: added to its update; of adam: to the gradient (L2)
    #: params that decay: all; but biases and scales; but these and the rows of items that are not in the step
    decayed: str = among("all", "matrices", "rows")
    momentum: float = key(below_one, 0.0)  #: of adagrad
    sparse: bool = False  #: update only the rows of tables whose items are in the batch
    schedule: str = among("constant", "linear", "cosine", "plateau")
    plateau: int = key(not_negative, 0)  #: of plateau: evaluations without a better one after which the rate falls
    plateau_factor: float = key(within, 0.5)  #: of plateau: by what it is multiplied then
    warmup: int = key(not_negative, 0)  #: steps
    clip: float = key(not_negative, 0.0)  #: global norm; 0 is none
    ema: float = key(below_one, 0.0)  #: weight of a step's params in their average, a step later; 0: no average


@dataclass(frozen=True)
class MeshConfig:
    data: int = key(not_negative, 0)  #: devices that share the rows of a step; 0: all devices, divided by `item`
    item: int = key(positive, 1)  #: devices that share the rows of every table of items; 1: each device has them whole


@dataclass(frozen=True)
class Config:
    dataset: str  #: a path, a folder under $JAXREC_DATA, or the name of a public data set
    seed: int = key(seed)
    epochs: int = key(positive)
    batch: int = key(positive)  #: sequences a step, on average
    length: int = key(positive)  #: the longest history that the model sees
    eval_every: float = key(positive)  #: epochs
    patience: int = key(not_negative)  #: evaluations without a better `select_by` before stopping; 0 is never
    model: Any = key()  # noqa: RUF009  #: the options of a model's entry
    loss: Any = key()  # noqa: RUF009  #: the options of a loss's entry
    optim: OptimConfig = key()  # noqa: RUF009
    split: str = "last-item"  #: of an entry: last-item, sessions or by-time
    test_quantile: float = key(within, 0.9)  #: of the times, at which the test begins, where they decide
    valid_fraction: float = key(below_one, 0.1)  #: of the training sessions, which validates; 0: all train
    select_by: str = ""  #: the validation's metric that chooses the checkpoint; "": ndcg@10, of sessions mrr@20
    seen: str = among("exclude", "keep")  #: whether items of the history may be the answer, in choosing and in serving
    stream: str = among("packed", "session-parallel")  #: sequences packed into rows, or an event of each lane a step
    objective: str = among("next-item", "cloze")
    num_future_targets: int = key(positive, 1)  #: next-item: how many of the items to come are targets of a slot
    mask_prob: float = key(share, 0.2)  #: cloze: share of a sequence's slots that are masked; at least one
    mask_last_prob: float = key(share, 0.1)  #: cloze: share of the sequences whose newest item is always among them
    item_dropout: float = key(below_one, 0.0)  #: next-item: how often an item of the input is left out in training
    sequence_dropout: float = key(share, 0.0)  #: next-item: how often a history is cut in two at a random place
    context: str = ""  #: kinds of what is known of an event that the model is shown with its item: "gap, hour"
    context_dropout: float = key(below_one, 0.1)  #: how often a history's context is left out in training
    features: str = ""  #: columns of items whose values have vectors too, as "genres,year"; "": none
    features_only: bool = False  #: whether items have no vectors of their own
    id_dropout: float = key(below_one, 0.0)  #: how often an item's own vector is left out in training
    cold_bonus: float = key(not_negative, 0.0)  #: what is added to the scores of items that never trained, in answers
    cold_items: float = key(below_one, 0.0)  #: share of the items that are held out of training, drawn by the seed
    positions: str = among("from_start", "from_end", "relative", "rotary", "buckets")
    history: str = among("newest", "oldest", "windows")  #: which `length` + 1 items train; or windows over all of them
    #: windows: how many items the next one shows again without asking for them; length - 1: every prefix is a sample
    overlap: int = key(not_negative, 0)
    row: int = key(not_negative, 0)  #: slots a row; 0 is `length`
    save_every: float = key(positive, 1.0)  #: epochs
    steps_per_call: int = key(positive, 64)
    microbatch_rows: int = key(not_negative, 0)  #: of a device's rows of a step, at most; 0: what is fastest there
    precision: str = among("float32", "bfloat16")  #: of the compute; parameters, softmax and sums are float32
    launcher: str = among("pmap", "shard_map")  #: with mesh.item above 1 always shard_map
    mesh: MeshConfig = key(default=MeshConfig())  # noqa: RUF009  #: how devices are laid out
    feed: str = among("device", "host")  #: data on the device; or on the host, sent a call ahead
