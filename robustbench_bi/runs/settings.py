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
        fit: corruptions are made, or were stored, at the side of the data, and then resized to the network's.
        corrupt_size: for clean pictures of any size, the side at which that happens. In a run, the side of either.
        no_resize: clean files are cropped at most. None in a run where that is no question, and in older runs,
            where files of the network's side were taken as they are and all others resized.
        channels: 1 where the network sees grey pictures. None: as the network says; in a run, three.
        adapt: "bn:N" where batch norms take N/(N+n) of their statistics from the source and n/(N+n) from each batch of
            n; "bn" is "bn:0". None: they keep their own.
        task: a row of `robustbench_bi.tasks.TASKS`.
        score_threshold, max_detections: of a detector: the least score that it gives, and how many a picture.
        min_size, max_size: to which a detector enlarges or shrinks a picture's sides, pixels.
        device, batch_size, workers, compile: as chosen; the batch size may be "auto" in a request.
    """

    severities: tuple[int, ...] = identity(
        default=SEVERITIES, option=Option('Such as "1-5" or "1,3,5".', shown="1-5", commas=True)
    )
    table: str = identity(
        default="auto",
        compared="must agree",
        words="with the constants of {}",
        across=True,
        of_made_pictures=True,
        option=Option("Severity constants, see `list tables`; auto chooses by image size.", complete="tables"),
    )
    jpeg: int | str | None = identity(
        default="auto",
        compared="must agree",
        words="with JPEG quality {}",
        without="without JPEG",
        across=True,
        option=Option("Quality of the JPEG round trip after each corruption, none, or auto."),
    )
    generator: str = identity(
        default="bivo-robust",
        compared="must agree",
        words="with the corruptions of {}",
        across=True,
        option=Option("Corruption implementation; imagecorruptions is for comparison.", choices=GENERATORS[:2]),
    )
    pixel_version: int = identity(
        default=PIXEL_VERSION,
        compared="must agree",
        words="with version {} of the corruptions",
        of_made_pictures=True,
    )
    seed: int = identity(
        default=0,
        compared="must agree",
        words="with seed {}",
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
        option=Option("Override how images are fitted to the model's input size.", choices=CROP_MODES),
    )
    cut_as: str | None = identity(
        default=None,
        compared="noted",
        added=True,
        option=Option(
            "Override the library whose resize and crop are reproduced byte for byte.", choices=CUT_AS, name="cut_as"
        ),
    )
    precision: str = identity(
        default="fp32", compared="noted", option=Option("Precision of the forward passes.", choices=PRECISIONS)
    )
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
    task: str = identity(default=DEFAULT, compared="must agree", words="for {}", added=True)
    fit: bool = identity(
        default=False,
        compared="noted",
        added=True,
        option=Option(
            "Corrupt images, or read stored ones, at the data's own size, then resize to the network's.", "flag"
        ),
    )
    corrupt_size: int | None = identity(
        default=None,
        compared="noted",
        added=True,
        option=Option("Corrupt clean images at this size, then resize to the network's.", "integer", "PIXELS"),
    )
    no_resize: bool | None = identity(
        default=None,
        compared="noted",
        added=True,
        option=Option("Only crop clean images and never resize them, as with stored corrupted files.", "flag"),
    )
    channels: int | None = identity(
        default=None,
        compared="noted",
        added=True,
        option=Option(
            "1 converts images to greyscale after the corruption.  [default: the network's]", "integer", "1|3"
        ),
    )
    adapt: str | None = identity(
        default=None,
        compared="must agree",
        words="with batch norms adapted to each batch by {}",
        without="without adapting",
        across=True,
        of_network=True,
        added=True,
        option=Option(
            "Adapt batch norms to each batch of n images: the network's statistics count N/(N+n), the batch's n/(N+n). "
            "bn means bn:0. Batch size and order then identify the run.",
            metavar="bn[:N]",
        ),
    )
    score_threshold: float | None = identity(default=None, compared="noted", added=True)
    max_detections: int | None = identity(default=None, compared="noted", added=True)
    min_size: int | None = identity(default=None, compared="noted", added=True)
    max_size: int | None = identity(default=None, compared="noted", added=True)
    device: str = recorded(default="auto", option=Option("auto, cpu, cuda, cuda:1, …"))
    batch_size: int | str = recorded(
        default=64, option=Option("Images per forward pass, or auto.", "integer", "N", least=1, word="auto")
    )
    compile: bool = recorded(default=False, option=Option("Compile the networks with torch.compile.", "flag"))
    workers: int | None = recorded(
        default=None, option=Option("Decoding threads.  [default: one per core, up to 8]", "integer", "N", least=0)
    )
