"""The slow part of importing ffcv, without the thread that it starts: its process may fork."""

import cv2  # noqa: F401
import numba.typed
import torch  # noqa: F401

modes = numba.typed.Dict()  # as ffcv.fields.rgb_image does, which compiles for seconds
modes["raw"] = 1
