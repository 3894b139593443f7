# `make` lists what there is to make.
.PHONY: list test quick oldest style types docs site golden reports hooks

list:
	@sed -nE 's/^([a-z]+):.*## (.*)/\1\t\2/p' Makefile | expand -t 10

# Fast tests of every room, without the slow ones of networks and of whole commands.
QUICK := tests/test_floors.py tests/ground tests/runs tests/metrics tests/data tests/reports/tables tests/reports/ci \
	tests/corruptions/test_golden.py tests/corruptions/test_table.py tests/ops/test_backends.py \
	tests/ops/test_share_out.py tests/models/test_layers.py tests/models/test_attention.py tests/training/test_recipe.py
# Fast tests that together use every package the project depends on.
OLDEST := $(QUICK) tests/reports/page/test_charts.py tests/reports/figures/test_figures.py tests/models/test_weights.py \
	tests/models/sources tests/corruptions/test_original.py tests/corruptions/test_fidelity.py \
	tests/training/test_augment.py tests/training/test_logs.py tests/test_cli.py

test: ## every test, and the examples in the docstrings
	pytest -n auto

quick: ## tests that take less than a minute on two cores
	pytest -n auto $(QUICK)

# Old packages warn of newer ones beside them; that is not what is tested.
oldest: ## tests for the oldest packages that pyproject.toml allows; .ci/run installs them
	pytest -n auto -W default $(OLDEST)

style: ## ruff: rules and layout
	ruff check .
	ruff format --check .

types: ## mypy, strict
	mypy

hooks: ## let git check style and types before each commit
	pre-commit install

docs: ## write docs/cli.md anew, from the commands
	python docs/generate.py

site: ## build the documentation site in build/site; pip install -e ".[docs]" first
	NO_MKDOCS_2_WARNING=1 mkdocs build --quiet
	! grep -rEl '<(script|img|iframe)[^>]* src="(https?:)?//|<link[^>]* rel="(stylesheet|preconnect|icon)"[^>]* href="(https?:)?//' build/site --include='*.html'

golden: ## write down the pixels of every corruption anew; raise PIXEL_VERSION first
	python tests/corruptions/test_golden.py

# Each folder's target runs the bash blocks of its README. reports/real-check needs photographs, reports/cifar10 hours.
FOLDERS := $(patsubst %/README.md,%,$(wildcard reports/*/README.md))
.PHONY: $(FOLDERS)

reports: $(filter-out reports/real-check reports/cifar10,$(FOLDERS)) ## what is committed under reports/ anew: ten minutes
$(FOLDERS):
	rm -rf $@/runs
	bash -euxo pipefail -c "$$(sed -n '/^```bash$$/,/^```$$/{/^```/!p}' $@/README.md)"
