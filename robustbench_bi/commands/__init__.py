"""The commands: a table, one file each, and what several of them share.

A command's file is imported when the command is used; what `--help` of the program shows stands in the rows.
"""

from dataclasses import dataclass

from robustbench_bi.ground.registry import Table

_GOES_ON = "Finished {} are kept in {{out}}/; run the same command to resume."
NOTHING_KEPT = "Nothing was saved; run the same command again."


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
    when_stopped: str = NOTHING_KEPT


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
            "detect",
            "robustbench_bi.commands.detect:detect",
            "Evaluate",
            "Evaluate detectors on clean and corrupted images.",
            _GOES_ON.format("cells"),
        ),
        Command(
            "compare",
            "robustbench_bi.commands.compare:compare",
            "Evaluate",
            "Compare finished runs with a baseline run, image by image.",
            "Some files in {out}/ may be missing; run the same command to write them all.",
        ),
        Command(
            "report",
            "robustbench_bi.commands.report:report",
            "Evaluate",
            "Write a report on finished runs: one self-contained page, or tables for a paper.",
        ),
        Command(
            "view",
            "robustbench_bi.commands.view:view",
            "Evaluate",
            "Browse the images of finished runs: a local page, or a folder of files.",
            "Run the same command to open the page again, or to write all of it.",
        ),
        Command(
            "gate",
            "robustbench_bi.commands.gate:gate",
            "Evaluate",
            "Check a finished run against a saved baseline and fail on a regression.",
            "There is no verdict, and nothing was saved; run the same command again.",
        ),
        Command(
            "runs",
            "robustbench_bi.commands.runs:runs",
            "Evaluate",
            "List the runs in FOLDER and below it, `runs` by default.",
        ),
        Command(
            "export",
            "robustbench_bi.commands.export:export",
            "Evaluate",
            "Write finished runs as a file for another program.",
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
            "Analyse networks and corruptions",
            "Show which frequencies a corruption changes: power spectra and their ratio to clean.",
        ),
        Command(
            "heatmaps",
            "robustbench_bi.commands.heatmaps:heatmaps",
            "Analyse networks and corruptions",
            "Show how well features survive corruption.",
        ),
        Command(
            "fourier",
            "robustbench_bi.commands.fourier:fourier",
            "Analyse networks and corruptions",
            "Show which frequencies cause errors: the Fourier heat map of Yin et al. (2019).",
            _GOES_ON.format("frequencies"),
        ),
        Command(
            "profile",
            "robustbench_bi.commands.profile:profile",
            "Analyse networks and corruptions",
            "Count parameters and MACs of networks, beside the paper's figures.",
        ),
        Command(
            "corrupt",
            "robustbench_bi.commands.corrupt:corrupt",
            "Create data",
            "Write corrupted images to DST in ImageNet-C's folder layout.",
            _GOES_ON.format("files"),
        ),
        Command(
            "train",
            "robustbench_bi.commands.train:train",
            "Train and convert networks",
            "Train a network from scratch and save it as OUT/NAME.safetensors.",
            "Everything saved so far is kept in {out}/; run the same command to resume.",
        ),
        Command(
            "convert",
            "robustbench_bi.commands.convert:convert",
            "Train and convert networks",
            "Convert a checkpoint to a .safetensors file with model metadata.",
        ),
        Command(
            "list",
            "robustbench_bi.commands.list_rows:list_rows",
            "Lists",
            "List models, corruptions, suites, metrics, figures and data sources.",
        ),
    ],
)
