# Makes what is committed under reports/ again: each target runs the bash blocks of the README in its folder.
# `make reports` takes about ten minutes on two cores and fetches nothing. reports/real-check needs photographs, and
# reports/cifar10 hours.
FOLDERS := $(patsubst %/README.md,%,$(wildcard reports/*/README.md))

.PHONY: reports $(FOLDERS)
reports: $(filter-out reports/real-check reports/cifar10,$(FOLDERS))

$(FOLDERS):
	rm -rf $@/runs
	bash -euxo pipefail -c "$$(sed -n '/^```bash$$/,/^```$$/{/^```/!p}' $@/README.md)"
