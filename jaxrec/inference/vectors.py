"""The item and user vectors of a trained model. A score is their product, plus the item's bias."""

import numpy as np
import polars as pl

from jaxrec.data.interactions import ID, Catalogue
from jaxrec.inference.engine import Engine


def item_vectors(engine: Engine, catalogue: Catalogue) -> pl.DataFrame:
    """Returns a frame with a row per item: the id, the vector [D] float32, and the bias if there is one."""
    table_VD, bias_V = engine.output_table
    rows = len(catalogue.ids)  # the rest are spare
    table_VD, bias_V = table_VD[:rows], None if bias_V is None else bias_V[:rows]
    frame = pl.DataFrame({ID: catalogue.ids.tolist(), "vector": table_VD.astype(np.float32)})
    return frame if bias_V is None else frame.with_columns(pl.Series("bias", bias_V.astype(np.float32)))
