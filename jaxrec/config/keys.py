"""The keys of a configuration, as frozen dataclasses. Those of models and losses are defined with their entries."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from jaxrec.config.fields import among, below_one, choice, key, not_negative, positive, seed, share, within

AUTO = "auto"  # a value determined from the log
IN_BATCH = ("in-batch", "mixed")  # sampling with targets of the batch as negatives


@dataclass(frozen=True)
class ModelOptions:
    """The keys of all models; an entry's options extend them."""

    name: str  #: of a registered model, or an import path as package.module:NAME
    dim: int = key(positive)  #: width of embeddings and layers
    layers: int = key(positive)  #: number of blocks
    dropout: float = key(below_one)  #: share of activations left out in training; each model says where


@dataclass(frozen=True)
class LossOptions:
    """The keys of all losses; an entry's options extend them."""

    name: str  #: of a registered loss, or an import path as package.module:NAME
    _: KW_ONLY
    weight: str = among("none", "linear", "log")  #: weight of a target: 1, its event's weight, or log(1 + weight)
    weight_clip: float = key(not_negative, 0.0)  #: maximum weight, before the log; 0: no maximum

    seen: ClassVar[str] = "keep"  #: "exclude": the loss is given each slot's OwnItems, to leave them out


@dataclass(frozen=True)
class SampledOptions(LossOptions):
    """The keys of losses with sampled negatives."""

    negatives: int = key(not_negative)  #: number per slot, or per group that shares them; 0 with in-batch
    #: how negatives are drawn: uniformly from the items the user has not seen in training, uniformly, by popularity,
    #: as the batch's other targets, or as these and by popularity
    sampling: str = among("uniform-unseen", "uniform", "popularity", "in-batch", "mixed")
    #: which slots share negatives: none, those of a packed row, or those of a batch
    share: str = among("slot", "row", "batch")
    remove_accidental_hits: bool = True  #: whether to ignore negatives that equal the target
    #: for popularity and mixed: items are drawn in proportion to (training count)^alpha
    alpha: float = key(not_negative, 0.75)

    #: share of log(expected count) to correct scores by, for losses that support it
    logq: ClassVar[float] = 0.0
    logq_counts: ClassVar[str] = "targets"  #: the basis of the expected count


@dataclass(frozen=True)
class OptimConfig:
    """The keys of the optimiser."""

    name: str = choice("adam", "adamw", "adagrad")  #: of the optimiser
    learning_rate: float = key(positive)  #: the highest, if a schedule changes it
    b1: float = key(below_one, 0.9)  #: adam, adamw: decay of the mean of gradients
    b2: float = key(below_one, 0.999)  #: adam, adamw: decay of the mean of their squares
    eps: float = key(positive, 1e-8)  #: added to the root that a step is divided by
    weight_decay: float = key(not_negative, 0.0)  #: adamw: decoupled; adam: added to the gradient (L2)
    decayed: str = among("all", "matrices")  #: decayed params: all, or without biases and scales of norms
    momentum: float = key(below_one, 0.0)  #: adagrad: share of the last step that is added
    sparse: bool = False  #: whether to update only the rows of tables whose items are in the batch
    #: the learning rate: constant, falling to 0 in a line or a cosine, or lowered when validation stops improving
    schedule: str = among("constant", "linear", "cosine", "plateau")
    plateau: int = key(not_negative, 0)  #: plateau: evaluations without improvement before the rate is lowered
    plateau_factor: float = key(within, 0.5)  #: plateau: factor of the rate
    warmup: int = key(not_negative, 0)  #: steps in which the rate rises from 0
    clip: float = key(not_negative, 0.0)  #: maximum global norm of gradients; 0: no maximum
    ema: float = key(below_one, 0.0)  #: decay of the moving average of params; 0: no average


@dataclass(frozen=True)
class MeshConfig:
    """The keys of the device mesh."""

    data: int = key(not_negative, 0)  #: devices that share the rows of a step; 0: all devices, divided by `item`
    item: int = key(positive, 1)  #: devices that share the rows of every table of items; 1: each device has them whole
    #: whether each device keeps the other params and their optimiser state whole, or `data` devices share each of them
    dense: str = among("replicated", "split")


@dataclass(frozen=True)
class Config:
    """The configuration of a training."""

    dataset: str  #: a path, a folder under $JAXREC_DATA, or the name of a public data set
    seed: int = key(seed)  #: of initial params, order, dropout, masks and negatives
    epochs: int = key(positive)  #: maximum number of passes over the training data
    batch: int = key(positive)  #: average number of sequences per step
    length: int = key(positive)  #: maximum length of a history
    eval_every: float = key(positive)  #: epochs between two evaluations
    patience: int = key(not_negative)  #: evaluations without an improved `select_by` before stopping; 0: never
    model: Any = key()  # noqa: RUF009  #: the options of the model's entry
    loss: Any = key()  # noqa: RUF009  #: the options of the loss's entry
    optim: OptimConfig = key()  # noqa: RUF009
    init_from: str = ""  #: a workdir whose params, matched by item ids, are the initial params; "": none
    split: str = "last-item"  #: last-item, sessions, by-time, last-basket, or another entry
    test_quantile: float = key(within, 0.9)  #: quantile of the times at which the test begins, for splits by time
    valid_fraction: float = key(below_one, 0.1)  #: share of training sessions for validation; 0: none
    select_by: str = ""  #: validation metric that chooses the checkpoint; "": ndcg@10, or mrr@20 for sessions
    #: whether items of the history may be recommended, in validation and in serving
    seen: str = among("exclude", "keep")
    stream: str = among("packed", "session-parallel")  #: sequences packed into rows, or one event of each lane per step
    objective: str = among("next-item", "cloze")  #: predict the next item at each slot, or masked items (bert4rec)
    #: whether events with the same time form a set, which predicts the items of the next; needs split=last-basket
    baskets: bool = False
    num_future_targets: int = key(positive, 1)  #: next-item: number of following items that are targets of a slot
    mask_prob: float = key(share, 0.2)  #: cloze: share of masked slots, at least one per sequence
    mask_last_prob: float = key(share, 0.1)  #: cloze: share of sequences whose newest item is always masked
    context: str = ""  #: kinds of event context shown to the model: "gap, hour"
    context_dropout: float = key(below_one, 0.1)  #: probability of leaving out a history's context, in training
    asked_dropout: float = key(below_one, 0.5)  #: probability of leaving out a slot's time of asking, in training
    context_zone: str = "UTC"  #: time zone of hours, weekdays and months, such as "Europe/Berlin"
    valid_query_time: bool = False  #: whether validation tells the model when its targets happened
    topic: str = ""  #: item column of topics, for context=switch and segments; "": genres or categories
    user_features: str = ""  #: user columns whose values are shown to the model: "gender,age"; "": none
    #: next-item: probability of showing a history's first event as its user's columns alone, in training
    start_prob: float = key(below_one, 0.0)
    target_types: str = ""  #: types of the events that are targets, in training and tests: "purchase"; "": all
    features: str = ""  #: item columns whose values have embeddings: "genres,year"; "": none
    features_only: bool = False  #: whether items have no vectors of their own
    id_dropout: float = key(below_one, 0.0)  #: probability of leaving out an item's own vector, in training
    cold_bonus: float = key(not_negative, 0.0)  #: added at inference to the scores of items that training didn't see
    cold_items: float = key(below_one, 0.0)  #: share of items held out of training, chosen by the seed
    #: how positions are encoded: a table counted from either end, distances (ALiBi), rotary, or distance buckets (T5)
    positions: str = among("from_start", "from_end", "relative", "rotary", "buckets")
    #: the newest or the oldest `length` + 1 items of a history, or windows over all
    history: str = among("newest", "oldest", "windows")
    #: windows: items repeated from the window before, not as targets; length - 1: a sample per prefix
    overlap: int = key(not_negative, 0)
    row: int = key(not_negative, 0)  #: slots per packed row; 0: `length`
    save_every: float = key(positive, 1.0)  #: epochs between two checkpoints
    steps_per_call: int = key(positive, 64)  #: maximum number of steps in one call of the program
    microbatch_rows: int = key(not_negative, 0)  #: maximum rows per device and microbatch; 0: what is fastest
    precision: str = among("float32", "bfloat16")  #: compute dtype; parameters, softmax and sums are float32
    #: how a step is spread over devices; with mesh.item above 1, or mesh.dense=split, always shard_map
    launcher: str = among("pmap", "shard_map")
    mesh: MeshConfig = key(default=MeshConfig())  # noqa: RUF009  #: how devices are laid out
    feed: str = among("device", "host")  #: whether data stay on the device, or on the host and are sent a call ahead
