"""The weights of what is measured of rows of pieces of stroke: trees of two questions, added up. Imports no torch.

They were grown by gradient boosting (Friedman 2001, https://doi.org/10.1214/aos/1013203451) on drawn pictures with and without
lettering in several typefaces, sizes, slants and strengths: of a picture with lettering its three best rows counted, of one
without its twelve worst. `python -m tests.benchmarks.lettering --grow` grows them again. Each line: a measure and its bound;
then, for values up to the bound, a measure, its bound, and what is added up to it and above it; then the same for values
above the first bound.
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
kinds 1 | beside 0.279 -0.113 -0.339 | alike 0.506 0.378 -0.141
kinds 1 | contrast 112 -0.259 0.017 | alike 0.506 0.316 -0.123
kinds 1 | beside 0.477 -0.0804 -0.266 | alike 0.506 0.278 -0.108
letters 0 | pitch_spread 0.0332 -0.221 -0.0199 | alike 0.625 0.261 -0.24
kinds 1 | beside 0.367 -0.0313 -0.212 | beside 0.477 0.234 -0.0944
letters 0 | gap 0.239 -0.034 -0.203 | alike 0.506 0.232 -0.196
kinds 0 | contrast 101 -0.183 -0.0307 | alike 0.625 0.184 -0.215
beside 0.279 | diverse 0.196 -0.168 0.202 | beside 0.477 -0.0367 -0.183
kinds 2 | gap 0.331 -0.00331 -0.185 | gap 0.454 0.209 -0.0447
beside 0.367 | diverse 0.233 -0.132 0.175 | beside 0.598 -0.0563 -0.168
kinds 2 | stroke 0.126 -0.0324 -0.198 | alike 0.426 0.187 -0.0815
kinds 2 | same 0.1 -0.0643 -0.231 | alike 0.426 0.179 -0.0772
kinds 2 | alike 0.201 -0.0369 -0.188 | alike 0.426 0.172 -0.0731
letters 0 | pitch_spread 0.0144 -0.164 -0.026 | alike 0.289 0.147 -0.133
holes 0 | shape_spread 0.371 -0.187 0.0128 | beside 0.2 0.141 -0.099
contrast 93.5 | stroke 0.119 0.0092 -0.153 | beside 0.2 0.148 -0.0834
gap 0.265 | beside 0.367 0.0863 -0.0899 | kinds 3 -0.147 0.0501
same 0.167 | number 1.61 -0.0672 0.135 | kinds 3 -0.204 0.0225
same 0.167 | kinds 0 -0.0744 0.0962 | kinds 3 -0.187 0.0218
gap 0.366 | alike 0.289 0.0614 -0.107 | stroke 0.0953 -0.00662 -0.165
contrast 93.5 | kinds 3 -0.0918 0.098 | holes 0 -0.0695 0.131
alpha 0.494 | letter 0.358 -0.136 -0.0272 | holes 0 -0.0686 0.103
alike 0.178 | beside 0.367 0.0911 -0.07 | kinds 3 -0.112 0.0637
gap 0.295 | beside 0.477 0.059 -0.0736 | fill 0.0475 0.00559 -0.131
same 0.1 | beside 0.2 0.102 -0.056 | kinds 3 -0.148 0.0518
stroke 0.126 | beside 0.477 0.109 -0.065 | fill_spread 0.0886 -0.125 0.0132
fill 0.258 | alike 0.201 0.057 -0.0703 | stroke 0.0693 0.0152 -0.156
letter 0.34 | contrast 101 -0.115 0.00566 | alike 0.289 0.0658 -0.0808
pitch_spread 0.0144 | stroke 0.148 -0.00989 -0.116 | beside 0.71 0.0731 -0.0888
gap 0.265 | alpha 0.468 -0.0277 0.0782 | same 0.0455 -0.033 -0.132
alike 0.101 | width_spread 0.145 -0.0905 0.0808 | letter 0.409 -0.114 -0.000318
same 0.167 | number 1.61 -0.0425 0.0772 | contrast 161 -0.141 0.00355
gap 0.454 | letters 0.143 -0.0198 0.089 | heights 0.4 -0.00916 -0.143
same 0.167 | beside 0.2 0.0579 -0.0413 | shape_spread 0.59 -0.129 0.00926
gap 0.454 | alike 0.101 0.0587 -0.0301 | heights 0.4 -0.0071 -0.133
fill 0.258 | inside 0.455 -0.0151 0.109 | stroke 0.0693 0.0091 -0.126
bars 0.5 | bars 0 -0.0258 0.093 | shape_spread 0.59 -0.128 0.0086
letter 0.409 | alike 0.101 0.00648 -0.0912 | heights 0.9 0.0699 -0.0762
gap 0.454 | base 0.6 -0.0455 0.039 | heights 0.4 -0.00567 -0.118
same 0.0714 | number 1.61 -0.0286 0.0913 | stroke 0.119 0.0328 -0.107
alpha 0.494 | height 12 -0.0954 -0.000726 | stroke_spread 0.0696 -0.0811 0.0617
beside 0.477 | shape_spread 0.329 -0.0391 0.067 | contrast_spread 0.26 -0.0756 0.0516
letters 0.2 | diverse 0.397 -0.0825 0.0066 | holes 0 -0.0371 0.0969
letter 0.34 | contrast 101 -0.0787 0.00977 | same 0.0714 0.0467 -0.0424
bars 0.25 | bars 0 -0.0175 0.0981 | width_spread 0.224 -0.111 0.00662
gap 0.194 | pitch_spread 0.000201 -0.0318 0.0637 | alike 0.157 -0.00546 -0.0834
height 8.58 | holes 0.5 -0.119 0.0111 | inside 0.455 -0.0155 0.0937
stroke 0.119 | stroke_spread 0.131 0.0977 -0.0371 | inside 0.372 -0.0943 0.022
spread 0.121 | alpha 0.182 0.0387 -0.0846 | beside 0.279 0.0432 -0.0278
height 8.58 | holes 0.5 -0.112 0.00986 | inside 0.455 -0.0103 0.0739
stroke 0.157 | alike 0.0835 0.0658 -0.0206 | stroke_spread 0.142 -0.111 0.016
fill 0.258 | beside 0.279 0.0416 -0.0323 | stroke 0.0693 0.00943 -0.0979
bars 0.5 | letter 0.444 -0.0231 0.0491 | shape_spread 0.59 -0.101 0.00691
stroke 0.126 | kinds 0 -0.0251 0.0794 | inside 0.372 -0.0999 0.0182
same 0.1 | base 0.8 -0.0238 0.0592 | beside 0.0351 -0.116 0.024
spread 0.121 | alpha 0.182 0.0366 -0.08 | alpha 0.446 -0.0231 0.043
stroke 0.157 | bars 0.25 0.0352 -0.0678 | stroke_spread 0.221 -0.0725 0.0545
fill 0.258 | letter 0.375 -0.0319 0.0323 | holes 0.889 -0.0833 0.0183
alike 0.0835 | stroke 0.187 0.0543 -0.06 | inside 0.455 -0.052 0.0566
bars 0.5 | bars 0 -0.014 0.0555 | shape_spread 0.59 -0.0891 0.00758
same 0.3 | diverse 0.595 0.0215 -0.0399 | beside 0.903 -0.0895 0.00385
alpha 0.446 | heights 0.9 -0.00415 -0.0966 | stroke_spread 0.0696 -0.0711 0.0403
letters 0.2 | diverse 0.397 -0.0648 0.00679 | alpha_spread 0.0934 0.0788 -0.0434
bars 0.25 | stroke 0.101 0.0569 -0.0163 | width_spread 0.314 -0.0796 0.0192
letter 0.34 | base 0.75 -0.0665 0.0102 | heights 0.9 0.0305 -0.053
inside 0.181 | contrast_spread 0.26 -0.0893 0.0136 | stroke 0.107 0.0414 -0.0167
alpha_spread 0.0824 | beside 0 -0.0373 0.0425 | fill 0.0716 0.0407 -0.0576
beside 0.477 | shape_spread 0.329 -0.0264 0.0457 | contrast_spread 0.152 -0.0631 0.0246
spread 0.121 | alpha 0.182 0.0367 -0.0683 | contrast 25.2 -0.0609 0.0189
base 0.5 | heights 0.75 -0.0495 0.0596 | alike 0.257 0.0368 -0.0558
alpha_spread 0.141 | diverse 0.595 0.0288 -0.046 | contrast 83.8 -0.0735 0.0231
gap 0.454 | fill_spread 0.0707 -0.0211 0.0291 | fill_spread 0.0492 0.0233 -0.0821
bars 0.2 | bars 0 -0.0115 0.0894 | width_spread 0.224 -0.0951 0.0224
number 2.64 | stroke 0.217 0.0166 -0.0528 | contrast 112 -0.101 0.027
inside 0.455 | stroke 0.196 0.0014 -0.105 | shape_spread 0.329 -0.0335 0.0866
letter 0.444 | alike 0.0247 0.0352 -0.0381 | alpha_spread 0.165 0.0419 -0.0757
height 8.58 | holes 0.5 -0.0838 0.0143 | inside 0.455 -0.011 0.0558
same 0.0714 | beside 0.2 0.0533 -0.0213 | beside 0.0351 -0.0883 0.0215
bars 0.2 | bars 0 -0.0086 0.0773 | width_spread 0.224 -0.0885 0.0182
number 2.64 | alpha_spread 0.0824 0.0262 -0.0248 | contrast 112 -0.0936 0.0235
stroke 0.251 | inside 0.389 -0.0141 0.0394 | alpha 0.573 -0.0763 0.00189
inside 0.181 | contrast_spread 0.26 -0.0804 0.0144 | stroke 0.0953 0.0462 -0.0125
spread 0.295 | spread 0.158 -0.0323 0.0297 | stroke 0.157 0.0119 -0.0931
letter 0.444 | contrast_spread 0.152 -0.0378 0.0286 | same 0.0714 0.0531 -0.0322
gap 0.575 | beside 0.367 0.0202 -0.0235 | stroke 0.0953 0.0129 -0.0762
stroke 0.217 | inside 0.181 -0.0617 0.0129 | inside 0.514 -0.0825 0.0212
heights 0.9 | base 0.857 -0.0168 0.051 | number 1.39 0.029 -0.0803
alike 0.0656 | width_spread 0.145 -0.0455 0.0396 | inside 0.455 -0.0345 0.0386
height 8.58 | holes 0.5 -0.075 0.0145 | letter 0.34 -0.0291 0.0179
width_spread 0.314 | diverse 0.525 0.00583 -0.0915 | fill_spread 0.0707 -0.0239 0.0506
number 2.64 | number 1.61 -0.0167 0.0348 | alpha 0.648 -0.0851 0.0218
bars 0.5 | spread 0.192 0.0277 -0.0163 | stroke 0.177 -0.0696 0.00596
spread 0.147 | inside 0.299 0.0155 -0.063 | spread 0.192 0.0586 -0.0141
stroke 0.217 | contrast_spread 0.0444 -0.0306 0.0209 | inside 0.483 -0.0809 0.01
bars 0.25 | stroke 0.107 0.0351 -0.0135 | alpha_spread 0.0159 0.0279 -0.0626
alpha 0.494 | beside 0.0351 -0.0762 0.00425 | number 1.61 -0.0202 0.0678
number 2.64 | alpha_spread 0.0824 0.0213 -0.0222 | alpha 0.648 -0.0788 0.0194
stroke_spread 0.0473 | contrast_spread 0.205 -0.0758 0.0483 | inside 0.358 -0.021 0.0333
stroke 0.251 | diverse 0.595 0.0154 -0.0283 | contrast 93.5 -0.0663 0.00371
width_spread 0.314 | letters 0.2 -0.0336 0.05 | fill 0.0716 0.0702 -0.00869
fill 0.258 | beside 0.2 0.0298 -0.0153 | kinds 0 0.00734 -0.0892
beside 0 | contrast 101 -0.0864 0.0563 | stroke_spread 0.121 0.0517 -0.0189
letter 0.34 | holes 1 -0.0495 0.0232 | heights 0.9 0.0246 -0.0437
contrast_spread 0.26 | stroke_spread 0.0473 -0.0724 0.00146 | contrast 93.5 0.0726 -0.0424
gap 0.575 | spread 0.121 -0.0363 0.0118 | stroke 0.0953 0.0131 -0.0683
spread 0.295 | contrast 34.1 -0.0461 0.0206 | stroke 0.148 0.0147 -0.0785
fill 0.258 | beside 0.2 0.0273 -0.0168 | kinds 0 0.00775 -0.0837
alike 0.0835 | stroke 0.187 0.0312 -0.0457 | inside 0.358 -0.0499 0.0205
letter 0.322 | holes 0.667 -0.0627 0.015 | inside 0.181 -0.0686 0.0144
contrast_spread 0.26 | stroke_spread 0.0473 -0.0668 -0.000884 | contrast 93.5 0.0649 -0.0415
width_spread 0.314 | diverse 0.525 0.00255 -0.0792 | fill_spread 0.0963 -0.0155 0.0546
same 0.0455 | number 1.95 -0.00666 0.0692 | beside 0 -0.0762 0.0159
letters 0.2 | width_spread 0.314 -0.0303 0.0217 | diverse 0.525 0.0631 -0.047
stroke 0.217 | pitch_spread 0.152 0.015 -0.0385 | contrast_spread 0.0716 0.0122 -0.0679
kinds 1 | fill_spread 0.0707 -0.0249 0.03 | gap 0.173 0.0437 -0.083
bars 0.5 | spread 0.192 0.0248 -0.0149 | stroke 0.177 -0.062 0.00617
height 8.58 | holes 0.5 -0.0647 0.0139 | inside 0.514 -0.0059 0.0496
stroke 0.217 | shape_spread 0.162 0.0537 -0.00368 | alpha 0.573 -0.0621 0.0128
bars 0.5 | stroke 0.157 0.0164 -0.0218 | stroke 0.177 -0.0595 0.00592
same 0.3 | letter 0.444 -0.0119 0.0244 | beside 0.903 -0.0574 0.00492
"""


def lettering(measures: Numbers) -> Numbers:
    """How much rows with these measures (R, MEASURES) look like letters, (R,): log of odds, about -10 to 8."""
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
