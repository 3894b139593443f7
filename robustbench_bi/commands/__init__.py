"""The commands: a table, one file each, and what several of them share.

A command's file is imported when the command is used; what `--help` of the program shows stands in the rows.
"""

from dataclasses import dataclass

from robustbench_bi.ground.registry import Table

_GOES_ON = "Finished {} are kept in {{out}}/; the same command goes on from there."
_AGAIN = "Nothing is kept; run the same command again."


@dataclass(frozen=True)
class Command:
    """A row of the table of commands.

    Attributes:
        name: what one types.
        code: the click command, "module:object".
        section: the heading that it stands under in the program's help. A section's rows stand together.
        summary: one line, the first of the command's own help.
        when_stopped: what it says after Ctrl-C or SIGTERM: what is kept, and how to go on. `{out}` is where it writes.
    """

    name: str
    code: str
    section: str
    summary: str
    when_stopped: str = _AGAIN


COMMANDS = Table(
    "command",
    [
        Command(
            "eval",
            "robustbench_bi.commands.evaluate:evaluate",
            "Evaluate",
            "Evaluate networks on clean and corrupted images.",
            _GOES_ON.format("cells"),
        ),
        Command(
            "compare",
            "robustbench_bi.commands.compare:compare",
            "Evaluate",
            "Compare finished runs with a baseline run, image by image.",
            "Files in {out}/ may be missing; the same command writes them all.",
        ),
        Command(
            "report",
            "robustbench_bi.commands.report:report",
            "Evaluate",
            "Write a report of finished runs: one page that needs no network, or tables for a paper.",
        ),
        Command(
            "gate",
            "robustbench_bi.commands.gate:gate",
            "Evaluate",
            "Stop a network that got worse: compare a finished run with a baseline, image by image.",
            "There is no verdict, and nothing is kept; run the same command again.",
        ),
        Command(
            "score",
            "robustbench_bi.commands.score:score",
            "Evaluate",
            "Compute mCE of classifiers, or mPC of detectors, from a table of published results.",
        ),
        Command(
            "spectra",
            "robustbench_bi.commands.spectra:spectra",
            "Look into networks and corruptions",
            "Show which frequencies a corruption touches: power spectra and their ratio to clean.",
        ),
        Command(
            "heatmaps",
            "robustbench_bi.commands.heatmaps:heatmaps",
            "Look into networks and corruptions",
            "Show what the features of networks keep of pictures under corruption.",
        ),
        Command(
            "fourier",
            "robustbench_bi.commands.fourier:fourier",
            "Look into networks and corruptions",
            "Show which frequencies mislead networks: the Fourier heat map of Yin et al. (2019).",
            _GOES_ON.format("frequencies"),
        ),
        Command(
            "profile",
            "robustbench_bi.commands.profile:profile",
            "Look into networks and corruptions",
            "Count parameters and multiply-accumulates of networks, beside those that the paper prints.",
        ),
        Command(
            "corrupt",
            "robustbench_bi.commands.corrupt:corrupt",
            "Make data",
            "Write corrupted images to DST, in the folder layout of ImageNet-C.",
            _GOES_ON.format("files"),
        ),
        Command(
            "train",
            "robustbench_bi.commands.train:train",
            "Train and convert networks",
            "Train a network from random weights; ends with OUT/NAME.safetensors.",
            "What was saved before is kept in {out}/; the same command goes on from there.",
        ),
        Command(
            "convert",
            "robustbench_bi.commands.convert:convert",
            "Train and convert networks",
            "Turn a checkpoint into a .safetensors that also says what network it is of.",
        ),
        Command(
            "list",
            "robustbench_bi.commands.list_rows:list_rows",
            "Lists",
            "Show what there is: networks, corruptions, suites, metrics, figures, data.",
        ),
    ],
)
