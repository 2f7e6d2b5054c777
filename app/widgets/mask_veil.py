"""A mask as red over a picture, where it is not trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtGui import QColor, QImage

from app import theme

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPACITY = 0.55  # of the red, unless the user chooses


def colours() -> NDArray[np.uint32]:
    """For each value of a mask the colour that is laid over the picture: premultiplied ARGB, 255 is clear."""
    red = QColor(theme.LIGHT.bad)  # the same by night: it lies on pictures
    opacity = 255 - np.arange(256, dtype=np.uint32)
    out = opacity << 24
    for channel, shift in ((red.red(), 16), (red.green(), 8), (red.blue(), 0)):
        out |= (opacity * channel // 255) << shift
    return out.astype(np.uint32)


def image(veil: NDArray[np.uint32]) -> QImage:
    """Such colours, (height, width), as a picture that shares their memory: keep them as long as it."""
    height, width = veil.shape
    return QImage(veil.data, width, height, 4 * width, QImage.Format.Format_ARGB32_Premultiplied)
