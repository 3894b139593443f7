"""The settings of an evaluation: what a request asks for and a run records, each declared once.

Each says beside itself what it is, see `robustbench_bi.ground.declared`. So a new setting of `eval` is one field here.
"""

from __future__ import annotations

from dataclasses import dataclass

from robustbench_bi.corruptions import PIXEL_VERSION
from robustbench_bi.ground.cells import SEVERITIES
from robustbench_bi.ground.declared import Option, identity, recorded
from robustbench_bi.ground.sizes import CROP_MODES, CUT_AS
from robustbench_bi.tasks import DEFAULT

PRECISIONS = ("fp32", "bf16", "fp16")
GENERATORS = ("bivo-robust", "imagecorruptions", "files")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings that mean the same in a request and in a run. A request may leave some open; a run's are settled.

    Attributes:
        severities: integers from 1 to 5.
        table: the table of severity constants; "auto": by the side of the images.
        jpeg: quality of the JPEG round trip after a corruption, or None; "auto": as the table's published files have.
        generator: who makes the corrupted pixels: "bivo-robust", "imagecorruptions", or "files" (published).
        pixel_version: of the code that makes the corrupted pixels.
        seed: keys every random draw, together with corruption, severity and image id.
        input_size, resize_size: pixels; interpolation, mean, std: as in `Preprocessing`. None: as the network says.
        crop_mode, cut_as: likewise; in a run None is their usual value, the first of `CROP_MODES` and of `CUT_AS`.
        precision: of the forward pass: "fp32", "bf16" or "fp16".
        task: a row of `robustbench_bi.tasks.TASKS`.
        device, batch_size, workers, compile: as chosen; the batch size may be "auto" in a request.
    """

    severities: tuple[int, ...] = identity(
        default=SEVERITIES, option=Option('Such as "1-5" or "1,3,5".', shown="1-5", commas=True)
    )
    table: str = identity(
        default="auto",
        compared="must agree",
        words="the table of constants",
        across=True,
        of_made_pictures=True,
        option=Option("Severity constants, see `list tables`; auto chooses by image size.", complete="tables"),
    )
    jpeg: int | str | None = identity(
        default="auto",
        compared="must agree",
        words="the JPEG quality",
        across=True,
        option=Option("Quality of the JPEG round trip after each corruption, none, or auto."),
    )
    generator: str = identity(
        default="bivo-robust",
        compared="must agree",
        words="the generator of the corruptions",
        across=True,
        option=Option("Corruption implementation; imagecorruptions is for comparison.", choices=GENERATORS[:2]),
    )
    pixel_version: int = identity(
        default=PIXEL_VERSION,
        compared="must agree",
        words="the version of the corruptions",
        of_made_pictures=True,
    )
    seed: int = identity(
        default=0,
        compared="must agree",
        words="the seed",
        across=True,
        of_made_pictures=True,
        option=Option("Random seed.", "integer", least=0),
    )
    input_size: int | None = identity(
        default=None, compared="noted", option=Option("Override the model's input size.", "integer", "PIXELS")
    )
    resize_size: int | None = identity(
        default=None,
        compared="noted",
        option=Option("Override the model's short side before the crop.", "integer", "PIXELS"),
    )
    interpolation: str | None = identity(
        default=None, compared="noted", option=Option("Override the model's interpolation: bilinear, bicubic, …")
    )
    crop_mode: str | None = identity(
        default=None,
        compared="noted",
        added=True,
        option=Option("Override how pictures are brought to the model's size.", choices=CROP_MODES),
    )
    cut_as: str | None = identity(
        default=None,
        compared="noted",
        added=True,
        option=Option("Override whose resize and crop are followed to the byte.", choices=CUT_AS, name="cut_as"),
    )
    precision: str = identity(default="fp32", compared="noted", option=Option(choices=PRECISIONS))
    mean: tuple[float, ...] | None = identity(
        default=None,
        compared="normalisation",
        option=Option("Override the model's channel means, such as 0.5,0.5,0.5.", "numbers", commas=True),
    )
    std: tuple[float, ...] | None = identity(
        default=None,
        compared="normalisation",
        option=Option("Override the model's channel standard deviations.", "numbers", commas=True),
    )
    task: str = identity(default=DEFAULT, compared="must agree", words="the task", added=True)
    device: str = recorded(default="auto", option=Option("auto, cpu, cuda, cuda:1, …"))
    batch_size: int | str = recorded(default=64, option=Option("Images per forward pass, or auto.", metavar="N"))
    compile: bool = recorded(default=False, option=Option("Compile the networks with torch.compile.", "flag"))
    workers: int | None = recorded(
        default=None, option=Option("Decoding threads.  [default: one per core, up to 8]", "integer", "N", least=0)
    )
