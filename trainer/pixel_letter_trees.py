"""The weights of what is measured of rows of pieces of stroke: trees of two questions, added up. Imports no torch.

They were grown by gradient boosting (Friedman 2001, https://doi.org/10.1214/aos/1013203451) on drawn pictures with and without
lettering in several typefaces, sizes, slants and strengths: of a picture with lettering its three best rows counted, of one
without its twelve worst. Each line: a measure and its bound; then, for values up to the bound, a measure, its bound, and what
is added up to it and above it; then the same for values above the first bound.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.pixel_letters import MEASURES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[Any]

TREES = """
kinds 1 | alpha 0.435 -0.301 -0.0459 | alike 0.508 0.393 -0.272
kinds 2 | beside 0.337 0.0624 -0.217 | alike 0.508 0.391 -0.0936
kinds 2 | same 0.3 -0.0333 -0.371 | alike 0.677 0.335 -0.102
beside 0.238 | diverse 0.169 -0.266 0.267 | alpha 0.324 -0.221 -0.0605
kinds 1 | diverse 0.222 -0.286 -0.0557 | alike 0.677 0.228 -0.233
beside 0.452 | gap 0.376 0.214 -0.175 | alpha 0.324 -0.195 -0.0604
letters 0.143 | contrast 133 -0.0839 0.18 | alike 0.677 0.245 -0.171
same 0.3 | beside 0.154 0.201 -0.0447 | kinds 3 -0.252 0.0322
gap 0.341 | beside 0.563 0.157 -0.0678 | gap_spread 0.0922 -0.246 -0.0557
alpha 0.234 | gap 0.18 -0.0634 -0.212 | alike 0.508 0.0699 -0.201
kinds 3 | letters 0.143 -0.356 -0.0935 | letters 0.143 -0.0242 0.228
kinds 2 | alike 0.12 -0.218 -0.33 | letters 0.143 -0.193 0.184
kinds 3 | stroke 0.117 -0.114 -0.267 | beside 0.452 0.205 -0.0373
kinds 2 | alpha 0.606 -0.222 -0.0855 | holes 0.1 -0.137 0.161
letters 0.143 | same 0.0909 -0.128 -0.269 | beside 0.238 0.151 -0.112
kinds 3 | same 0.111 -0.0805 -0.251 | alike 0.408 0.172 -0.0583
letters 0.143 | alpha 0.606 -0.153 -0.00979 | holes 0.1 -0.107 0.142
gap 0.309 | alike 0.157 0.0985 -0.101 | alpha 0.606 -0.19 -0.0624
kinds 2 | pitch_spread 0.0455 -0.126 0.0111 | same 0.192 0.117 -0.168
gap 0.309 | alike 0.262 0.0627 -0.117 | shape_spread 0.419 -0.167 -0.0552
kinds 4 | same 0.0909 -0.0433 -0.202 | alike 0.408 0.165 -0.011
kinds 4 | heights 0.889 -0.0365 -0.196 | alike 0.262 0.157 -0.00354
letter 0.293 | height 29 -0.149 -0.00996 | alike 0.157 0.0589 -0.0967
beside 0.871 | stroke 0.175 0.0451 -0.108 | contrast_spread 0.286 -0.158 0.0215
alpha 0.532 | height 13.6 -0.135 -0.00214 | diverse 0.613 0.0899 -0.0686
fill_spread 0.0351 | stroke 0.102 -0.00853 -0.2 | letter 0.369 -0.0646 0.0537
same 0.111 | letter 0.369 -0.061 0.0579 | alpha 0.659 -0.175 0.0605
beside 0.871 | fill 0.255 0.0331 -0.124 | kinds 1 -0.0351 -0.169
alike 0.12 | number 1.79 -0.0262 0.126 | alpha 0.606 -0.103 0.0381
gap 0.141 | letter 0.277 -0.0955 0.0858 | alpha 0.479 -0.0871 0.0115
beside 0.337 | holes 0.1 -0.0643 0.0837 | stroke 0.117 -0.0234 -0.108
kinds 4 | same 0.0909 -0.0044 -0.12 | alike 0.408 0.129 -0.0114
beside 0.563 | alike 0.12 0.0717 -0.0342 | spread 0.263 -0.0995 0.0212
fill_spread 0.0351 | stroke 0.107 0.00981 -0.169 | gap_spread 0.263 0.0381 -0.0715
spread 0.0817 | height 22 -0.147 0.000927 | alpha 0.606 -0.0217 0.0662
bars 0.4 | stroke 0.123 0.0572 -0.0395 | contrast 99.1 -0.153 0.0167
beside 0.337 | fill_spread 0.0631 -0.0491 0.0724 | alpha 0.324 0.0222 -0.0642
fill 0.232 | alike 0.088 0.0614 -0.0292 | contrast 89.5 -0.137 0.0253
letter 0.277 | beside 0.452 -0.12 -0.0142 | gap 0.16 0.0558 -0.0288
heights 0.889 | diverse 0.528 0.0475 -0.0396 | stroke 0.107 0.0339 -0.127
contrast_spread 0.0255 | shape_spread 0.193 0.0385 -0.126 | beside 0.337 0.0443 -0.0336
kinds 4 | number 2.64 -0.0056 -0.126 | alike 0.408 0.108 -0.011
bars 0.4 | bars 0.111 -0.0159 0.0839 | contrast 89.5 -0.137 0.00399
letter 0.369 | fill_spread 0.0824 -0.0794 0.0202 | alike 0.23 0.0535 -0.0529
spread 0.0817 | contrast 27.9 0.0145 -0.117 | inside 0.472 -0.00735 0.0838
stroke 0.175 | stroke 0.0684 -0.0874 0.0264 | height 10 -0.136 -0.00783
heights 0.889 | inside 0.417 -0.0122 0.0745 | stroke 0.0972 0.029 -0.107
bars 0.4 | stroke 0.117 0.0439 -0.0257 | contrast 89.5 -0.127 0.00543
holes 1.5 | gap 0.465 0.017 -0.0766 | alpha 0.308 0.00771 -0.116
alpha 0.606 | same 0.0909 -0.00215 -0.109 | diverse 0.501 0.0906 -0.0433
letter 0.514 | width_spread 0.124 -0.0924 -0.00174 | gap_spread 0.0616 -0.0413 0.0885
beside 0.337 | spread 0.375 0.042 -0.0963 | contrast_spread 0.224 -0.0515 0.0403
fill 0.232 | gap_spread 0.24 0.0306 -0.0423 | contrast 89.5 -0.113 0.0196
gap_spread 0.0616 | holes 0.2 -0.108 0.00566 | letter 0.463 -0.0121 0.0577
spread 0.0817 | contrast 27.9 0.0187 -0.106 | spread 0.42 0.0114 -0.0857
alpha 0.532 | height 15.5 -0.0586 0.0211 | stroke 0.128 0.0746 -0.0321
letter 0.277 | spread 0.212 -0.0959 0.000563 | spread 0.42 0.0157 -0.1
stroke_spread 0.0864 | letter 0.514 -0.0827 0.032 | fill 0.232 0.0216 -0.067
bars 0.4 | alike 0.0728 0.0416 -0.0212 | same 0.192 -0.0905 0.0441
beside 0.337 | contrast 27.9 0.119 -0.00187 | fill_spread 0.116 -0.0048 -0.0936
fill_spread 0.0719 | stroke 0.102 0.0435 -0.085 | inside 0.306 -0.0519 0.0589
alpha_spread 0.0231 | letter 0.546 -0.0928 0.0276 | number 1.79 -0.0144 0.0448
letter 0.293 | diverse 0.681 -0.0874 0.0347 | beside 0.452 0.0309 -0.0275
heights 0.889 | base 0.778 -0.0152 0.0465 | spread 0.318 -0.0824 0.0224
same 0.0556 | stroke 0.0684 -0.0952 0.021 | contrast_spread 0.0743 -0.088 0.0247
gap_spread 0.263 | bars 0.4 0.0217 -0.0661 | alpha_spread 0.154 -0.0681 0.0299
alpha 0.479 | kinds 1 0.0185 -0.064 | beside 0.046 0.0871 -0.0113
letter 0.369 | diverse 0.722 -0.0481 0.0461 | diverse 0.646 0.0328 -0.074
gap_spread 0.0616 | contrast 23.8 0.0384 -0.0664 | alpha 0.479 -0.0184 0.037
number 2.4 | stroke 0.0788 -0.0597 0.017 | alpha 0.606 -0.128 0.0445
stroke 0.175 | contrast_spread 0.0295 -0.0591 0.0208 | diverse 0.453 0.0178 -0.097
stroke_spread 0.0453 | holes 0.714 -0.0992 0.0214 | diverse 0.646 0.0162 -0.0461
contrast 23.8 | pitch_spread 0.0765 0.0869 -0.0431 | pitch_spread 0.0455 -0.0348 0.0242
stroke 0.259 | inside 0.378 -0.0147 0.043 | contrast 89.5 -0.115 0.0263
holes 1.5 | stroke_spread 0.0453 -0.0686 0.0104 | alpha 0.324 0.00819 -0.0918
spread 0.0466 | letters 0.222 -0.0911 0.00175 | spread 0.42 0.00722 -0.0719
stroke 0.117 | contrast_spread 0.224 -0.00799 0.0815 | inside 0.378 -0.0687 0.0243
stroke 0.259 | inside 0.472 -0.00534 0.0612 | contrast 89.5 -0.109 0.0228
stroke_spread 0.159 | alike 0.12 0.0587 -0.0429 | inside 0.378 -0.0609 0.0405
stroke 0.175 | holes 0.75 0.027 -0.0297 | diverse 0.429 0.0161 -0.0781
"""


def lettering(measures: Numbers) -> Numbers:
    """How much rows with these measures (R, MEASURES) look like letters, (R,): log of odds, about -5 to 5."""
    questions, bounds, values = _trees()
    tree = np.arange(len(values))
    side = (measures[:, questions[:, 0]] > bounds[:, 0]).astype(np.int64)  # (R, trees)
    second = np.take_along_axis(measures, questions[tree, 1 + side], 1) > bounds[tree, 1 + side]
    total: Numbers = values[tree, side, second.astype(np.int64)].sum(1)
    return total


@lru_cache(maxsize=1)
def _trees() -> tuple[Numbers, Numbers, Numbers]:
    """Of each tree the measures asked for (T, 3), their bounds (T, 3), and what is added (T, 2, 2)."""
    questions, bounds, values = [], [], []
    for line in TREES.strip().splitlines():
        parts = [part.split() for part in line.split("|")]
        questions.append([MEASURES.index(part[0]) for part in parts])
        bounds.append([float(part[1]) for part in parts])
        values.append([[float(v) for v in part[2:]] for part in parts[1:]])
    return np.array(questions), np.array(bounds), np.array(values)
