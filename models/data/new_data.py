"""What data modules keep of their fit, and what they return for a new source, so that a trained model can predict it.

`fitted_state` of every data module has
    task, class_names                as of models.data.base:DataModule
    target_names                     of the values of a regression; empty for one value without a name
    target_mean, target_scale        arrays (values,), by which targets were standardised
and besides
    Table       columns: numbers, dates, categories   the columns of the file that it reads, in the order of the inputs;
                                                      of a date its first one of training, `with_time`, and `is_clock`
                                                      for a time of the day; of categories their values, numbered from 1
                         yes_and_no, one_hot          numbers that words may stand for; whether categories are numbers
                         fill (raw,), kept            values for missing numbers, of all numbers and then of all numbers
                                                      of dates (models.data.date_numbers); those that are kept
                         scaling                      kind and arrays, see models.data.scaling:Scaling
                         incomplete, names            columns with an indicator of missing values; names of the inputs
                reading, date_orders                  options of the class for files, and the orders of dates
                names_of_rows, known                  columns that name rows, and the others that the training file had
    Digits      shift, scale                          arrays: (pixels - shift) / scale
    Images      factor, offset (channels, 1, 1)       pixels * factor + offset
                shape, is_bytes, white, form          of the pixels before, the value of white (0: none), and options
    Sequences   shift, scale (features,)              (x - shift) / scale, 0 beyond a length
                features, truncate, labels, reading   names, most steps (0: all), sequence or step, options for files
    Series      shift, scale (columns,) or ()         (differences - shift) / scale
                window, horizon, lag, interpolation   the differences are from `lag` steps before; 0: there are none
                targets, columns, step, reading       names, targets first; of the times; options for files
                calendar                              cycles of models.data.calendar, whose columns come last
                holidays, "days of a step"            days since 1970, and the step, of the columns after these
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Required, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data.batches import Inputs

BATCH = 512


class NewData(TypedDict, total=False):
    """New samples as a model takes them; the lists are read after the last batch, so reading a batch may add to them.

    Keys:
        batches: what the model's `predict_step` takes, in order.
        rows: columns that name the rows of the predictions: numbers, texts, dates; a value for each row.
        remarks: what was left out, filled in or not known, in words.
        steps: the number of rows of each sample, if a sample has several; only so many of its outputs count.
        reference: (samples, outputs), added to a model's values in the data's unit.
    """

    batches: Required[Iterable[Any]]
    rows: Mapping[str, Sequence[Any] | NDArray[Any]]
    remarks: Sequence[str]
    steps: NDArray[np.int64]
    reference: NDArray[np.float64]


def batches_of(inputs: Inputs) -> Iterator[Any]:
    """Slices, as `predict_step` of models.base:Supervised takes them: a tensor, or a tuple whose first is several."""
    if isinstance(inputs, Tensor):
        yield from torch.split(inputs, BATCH)
        return
    for parts in zip(*(torch.split(part, BATCH) for part in inputs), strict=True):
        yield (parts,)
