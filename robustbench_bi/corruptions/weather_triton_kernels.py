"""GPU twin of the snow in `weather`, whose streaks plain torch can only blur image by image."""

from functools import partial

from robustbench_bi.corruptions import weather
from robustbench_bi.corruptions.filters_triton_kernels import directional_blur

snow = partial(weather.snow, directional_blur=directional_blur)
